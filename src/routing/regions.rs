//! The regions of a Vertex channel: which one is next for a model.
//!
//! Which region has which model changes by the week, so the lists are a beginning only: a region
//! that turns out not to have a model is passed over for a while. Sources: the lists that uni-api
//! has always had, Google's "Generative AI on Vertex AI locations", and for Claude Anthropic's
//! "Claude on Vertex AI".

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::key_ring::Turn;

/// A region that does not have a model is asked for it again after this time.
const ABSENCE: Duration = Duration::from_secs(600);

/// Regions by model. A pattern fits the name up to its `@`; the first list with one that fits counts.
const LISTS: [(&[&str], &[&str]); 9] = [
    (&["claude-3-5-sonnet*", "claude-3-7-sonnet*"], &["us-east5", "europe-west1"]),
    (&["claude-3-opus", "claude-3-5-haiku"], &["us-east5"]),
    (&["claude-3-sonnet"], &["us-east5", "us-central1", "asia-southeast1"]),
    (&["claude-3-haiku"], &["us-east5", "us-central1", "europe-west1", "europe-west4"]),
    (&["claude-sonnet-4", "claude-opus-4"], &["us-east5", "europe-west1", "asia-east1"]),
    (
        &[
            "claude-opus-4-1",
            "claude-haiku-4-5",
            "claude-sonnet-4-5",
            "claude-opus-4-5",
            "claude-sonnet-4-6",
            "claude-opus-4-6",
        ],
        &["us-east5", "europe-west1", "global"],
    ),
    // No single region has the newer ones, or has them first.
    (
        &[
            "claude*",
            "gemini-2.5-flash-image*",
            "gemini-embedding*",
            "gemini-3*",
            "gemini-4*",
            "gemini-5*",
            "gemini-6*",
            "gemini-7*",
            "gemini-8*",
            "gemini-9*",
            "gemini-nano-banana*",
        ],
        &["global"],
    ),
    (
        &["gemini-2.5*"],
        &[
            "us-central1",
            "us-east1",
            "us-east4",
            "us-east5",
            "us-south1",
            "us-west1",
            "us-west4",
            "europe-central2",
            "europe-north1",
            "europe-southwest1",
            "europe-west1",
            "europe-west4",
            "europe-west8",
            "europe-west9",
        ],
    ),
    (&["*"], &["us-central1", "us-east4", "us-west1", "us-west4", "europe-west1", "europe-west2"]),
];

/// Hands out the regions of one channel round robin, with one cursor for each list. A region is
/// known by its position among all that the channel has.
pub struct Regions {
    names: Vec<Arc<str>>,
    /// In the order of [`LISTS`]; a single one when the configuration says which.
    lists: Vec<List>,
    /// By model: the regions that do not have it, and until when that is believed.
    absent: HashMap<Arc<str>, Vec<(usize, Duration)>>,
}

struct List {
    regions: Vec<usize>,
    turn: Turn,
}

impl Regions {
    /// The configured regions for all models; without any, those that each model is known to have.
    pub fn new(configured: &[Arc<str>]) -> Self {
        let mut regions = Self { names: Vec::new(), lists: Vec::new(), absent: HashMap::new() };
        if configured.is_empty() {
            LISTS.iter().for_each(|(_, names)| regions.add_list(names.iter().copied()));
        } else {
            regions.add_list(configured.iter().map(|name| &**name));
        }
        regions
    }

    fn add_list<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let regions: Vec<usize> = names.map(|name| self.position(name)).collect();
        self.lists.push(List { turn: Turn::new(regions.len()), regions });
    }

    fn position(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        })
    }

    /// The name of a region.
    pub fn name(&self, region: usize) -> Option<&Arc<str>> {
        self.names.get(region)
    }

    /// The regions that `model` is known to have.
    pub fn of(&self, model: &str) -> impl Iterator<Item = usize> {
        self.lists.get(self.list_of(model)).into_iter().flat_map(|list| list.regions.iter().copied())
    }

    fn list_of(&self, model: &str) -> usize {
        if self.lists.len() == LISTS.len() { list_of(model) } else { 0 }
    }

    /// The next region in turn for `model` that `is_tried` does not exclude, and that is not known
    /// to lack it; `None` when there is none. Times count from any fixed moment.
    ///
    /// A model that no region has costs a request one attempt: at the region that was asked for it
    /// longest ago.
    pub fn pick(&mut self, model: &str, is_tried: impl Fn(usize) -> bool, now: Duration) -> Option<usize> {
        self.absent.retain(|_, regions| {
            regions.retain(|(_, until)| *until > now);
            !regions.is_empty()
        });
        let list = self.list_of(model);
        let list = self.lists.get_mut(list)?;
        let absent = self.absent.get_mut(model);
        let is_absent =
            |region| absent.as_ref().is_some_and(|absent| absent.iter().any(|(lacking, _)| *lacking == region));
        if !list.regions.iter().all(|region| is_absent(*region)) {
            let is_out = |region: &usize| is_tried(*region) || is_absent(*region);
            let at = list.turn.pick(|at| list.regions.get(at).is_none_or(is_out))?;
            return list.regions.get(at).copied();
        }
        if list.regions.iter().any(|region| is_tried(*region)) {
            return None;
        }
        let absent = absent?;
        let oldest = (0..absent.len()).min_by_key(|at| absent.get(*at).map(|(_, until)| *until))?;
        Some(absent.remove(oldest).0)
    }

    /// Takes note that a region does not have a model.
    pub fn lacks(&mut self, region: usize, model: Arc<str>, now: Duration) {
        let regions = self.absent.entry(model).or_default();
        regions.retain(|(known, _)| *known != region);
        regions.push((region, now.saturating_add(ABSENCE)));
    }
}

/// The position in [`LISTS`] of the regions of a model.
fn list_of(model: &str) -> usize {
    let name = model.split('@').next().unwrap_or_default();
    let fits = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *pattern,
    };
    LISTS.iter().position(|(patterns, _)| patterns.iter().any(fits)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    fn configured(names: &[&str]) -> Regions {
        Regions::new(&names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>())
    }

    /// What one request after the other gets, each at its first attempt.
    fn firsts(regions: &mut Regions, model: &str, requests: usize) -> Vec<String> {
        (0..requests).map(|_| name_of(regions, model, &[])).collect()
    }

    fn name_of(regions: &mut Regions, model: &str, tried: &[usize]) -> String {
        let region = regions.pick(model, |region| tried.contains(&region), START);
        region.map_or_else(|| "none".to_owned(), |region| regions.name(region).unwrap().to_string())
    }

    #[test]
    fn a_model_has_the_regions_of_its_family() {
        let six = "us-central1 us-east4 us-west1 us-west4 europe-west1 europe-west2";
        for (model, expected) in [
            ("gemini-1.5-pro-002", six),
            ("gemini-2.0-flash", six),
            ("gemini-pro", six),
            ("llama-4", six),
            ("gemini-2.5-pro", "us-central1 us-east1 us-east4 us-east5 us-south1 us-west1"),
            ("gemini-2.5-flash-image-preview", "global global"),
            ("gemini-embedding-2", "global global"),
            ("text-embedding-005", six),
            ("gemini-3-pro-preview", "global global"),
            ("gemini-3.1-pro", "global global"),
            ("gemini-nano-banana-2.1", "global global"),
            ("claude-3-5-sonnet@20240620", "us-east5 europe-west1 us-east5"),
            ("claude-3-5-sonnet-v2@20241022", "us-east5 europe-west1 us-east5"),
            ("claude-3-opus@20240229", "us-east5 us-east5"),
            ("claude-3-haiku@20240307", "us-east5 us-central1 europe-west1 europe-west4 us-east5"),
            ("claude-sonnet-4@20250514", "us-east5 europe-west1 asia-east1 us-east5"),
            ("claude-sonnet-4-5@20250929", "us-east5 europe-west1 global us-east5"),
            ("claude-opus-5", "global global"),
        ] {
            let found = firsts(&mut Regions::new(&[]), model, expected.split(' ').count());
            assert_eq!(found.join(" "), expected, "{model}");
        }
    }

    #[test]
    fn models_of_one_list_share_its_cursor() {
        let mut regions = Regions::new(&[]);
        assert_eq!(firsts(&mut regions, "gemini-1.5-pro", 1), ["us-central1"]);
        assert_eq!(firsts(&mut regions, "gemini-2.0-flash", 1), ["us-east4"]);
        assert_eq!(firsts(&mut regions, "claude-3-5-sonnet", 1), ["us-east5"]);
    }

    #[test]
    fn configured_regions_are_for_every_model() {
        let mut regions = configured(&["a", "b"]);
        assert_eq!(firsts(&mut regions, "gemini-3-pro", 2), ["a", "b"]);
        assert_eq!(firsts(&mut regions, "claude-3-opus", 1), ["a"]);
    }

    #[test]
    fn a_region_is_tried_once_per_request() {
        let mut regions = configured(&["a", "b", "c"]);
        assert_eq!(name_of(&mut regions, "m", &[0]), "b");
        assert_eq!(name_of(&mut regions, "m", &[0, 1]), "c");
        assert_eq!(name_of(&mut regions, "m", &[0, 1, 2]), "none");
    }

    #[test]
    fn a_region_without_the_model_is_passed_over_for_a_while() {
        let mut regions = configured(&["a", "b"]);
        regions.lacks(0, "m".into(), START);
        assert_eq!(firsts(&mut regions, "m", 3), ["b", "b", "b"]);
        assert_eq!(firsts(&mut regions, "other", 1), ["a"]);
        assert_eq!(regions.pick("m", |_| false, ABSENCE - Duration::from_nanos(1)), Some(1));
        assert_eq!(regions.pick("m", |_| false, ABSENCE), Some(0));
    }

    #[test]
    fn a_model_that_no_region_has_costs_one_attempt() {
        let mut regions = configured(&["a", "b"]);
        regions.lacks(0, "m".into(), START);
        regions.lacks(1, "m".into(), Duration::from_secs(1));
        let now = Duration::from_secs(2);
        assert_eq!(regions.pick("m", |_| false, now), Some(0));
        regions.lacks(0, "m".into(), now);
        assert_eq!(regions.pick("m", |region| region == 0, now), None);
        assert_eq!(regions.pick("m", |_| false, now), Some(1), "the one asked longest ago");
        assert_eq!(regions.pick("m", |_| false, now), Some(1), "nothing is known of it until it has answered");
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_behind() {
        let mut regions = configured(&["a", "b"]);
        regions.lacks(0, "m".into(), START);
        regions.lacks(0, "m".into(), START);
        assert_eq!(regions.absent["m"].len(), 1);
        regions.pick("other", |_| false, ABSENCE);
        assert!(regions.absent.is_empty());
    }
}
