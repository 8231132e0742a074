//! The channels that are not tried, each with the reason.

use std::collections::HashMap;

use crate::config::{Channel, ChannelId, ModelSource, SwitchedOff, aligned, did_you_mean, shown};

use super::case::{Case, Way};
use super::channel_name;

/// One line for each, in the order of the configuration, and after them what is switched off.
pub(super) fn table(case: &Case, off: &[SwitchedOff]) -> String {
    let ways = case.at_most.as_ref().map(|pool| case.ways(pool)).unwrap_or_default();
    let is_tried = |channel: ChannelId| case.order.iter().any(|candidate| candidate.channel == channel);
    let channels = case.config.channels.iter().filter(|channel| !is_tried(channel.id));
    let rows = channels.map(|channel| vec![channel_name(case.config, channel.id), reason(case, channel, &ways)]);
    let off = off.iter().map(|SwitchedOff { name, why }| vec![shown(name), why.clone()]);
    aligned(&rows.chain(off).collect::<Vec<_>>())
}

fn reason(case: &Case, channel: &Channel, ways: &HashMap<ChannelId, Way>) -> String {
    let model = shown(case.model);
    let models = match (&channel.models, ways.get(&channel.id)) {
        (ModelSource::Listed(models), _) => models,
        (ModelSource::Discovered, Some(way)) => {
            let rule = way.because_of();
            return format!(
                "asks its upstream for its models while it runs; {model} may be among them, and {rule} allows it"
            );
        }
        (ModelSource::Discovered, None) => {
            return format!(
                "asks its upstream for its models while it runs, but no rule of this key would allow {model}"
            );
        }
    };
    if models.iter().any(|offered| *offered.alias == *case.model) {
        return "offers it, but no rule of this key allows it".to_owned();
    }
    match models.iter().find(|offered| *offered.upstream == *case.model) {
        Some(renamed) => format!("offers {model} to clients by the name {}", renamed.alias),
        None => format!("lists no {model}{}", did_you_mean(case.model, models.iter().map(|offered| &*offered.alias))),
    }
}
