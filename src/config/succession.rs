//! A new configuration takes the place of one that is in use.

use std::collections::HashSet;
use std::sync::Arc;

use super::resolved::{Channel, ChannelId, ClientKeys, Config};

impl Config {
    /// This configuration as the successor of `before`: what was there before goes by the same id,
    /// so that whatever is remembered of it still counts, and a channel that has not changed is the
    /// very same. An id that was given up is never used again, because requests under way may still
    /// name it.
    pub fn succeeding(mut self, before: &Self) -> Self {
        let mut free: Vec<&Arc<Channel>> = before.channels.iter().collect();
        let mut placed = vec![false; self.channels.len()];
        for (channel, is_placed) in self.channels.iter_mut().zip(&mut placed) {
            if let Some(at) = free.iter().position(|old| old.is_like(channel)) {
                *channel = Arc::clone(free.remove(at));
                *is_placed = true;
            }
        }
        self.next_channel = before.next_channel;
        for (channel, _) in self.channels.iter_mut().zip(placed).filter(|(_, is_placed)| !is_placed) {
            let id = match free.iter().position(|old| old.name == channel.name) {
                Some(at) => free.remove(at).id,
                None => {
                    self.next_channel += 1;
                    ChannelId(self.next_channel - 1)
                }
            };
            if let Some(channel) = Arc::get_mut(channel) {
                channel.id = id;
            }
        }
        self.next_client = before.next_client;
        let next = &mut self.next_client;
        let clients = self.client_keys.iter().map(|client| {
            let mut client = (**client).clone();
            client.id = before.client_keys.get(client.secret.fingerprint()).map_or_else(
                || {
                    *next += 1;
                    *next - 1
                },
                |old| old.id,
            );
            client
        });
        self.client_keys = ClientKeys::new(clients.collect());
        self
    }

    /// The channels that `successor` has no more, or has changed.
    pub fn lost_to<'a>(&'a self, successor: &'a Self) -> impl Iterator<Item = &'a Arc<Channel>> {
        let kept: HashSet<*const Channel> = successor.channels.iter().map(Arc::as_ptr).collect();
        self.channels.iter().filter(move |channel| !kept.contains(&Arc::as_ptr(channel)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::parse;

    fn config(providers: &str, keys: &str) -> Config {
        let text = format!("providers: [{providers}]\napi_keys: [{keys}]\n");
        parse(&text, "api.yaml", &|_| None, Duration::from_secs(100)).config.unwrap()
    }

    fn provider(name: &str, key: &str) -> String {
        format!("{{provider: {name}, base_url: http://h/v1, api: {key}, model: [m]}}, ")
    }

    fn ids(config: &Config) -> Vec<(&str, usize)> {
        config.channels.iter().map(|channel| (&*channel.name, channel.id.0)).collect()
    }

    #[test]
    fn what_stays_keeps_its_id_and_what_comes_gets_a_new_one() {
        let [a, b, c] = ["a", "b", "c"].map(|name| provider(name, "k"));
        let first = config(&format!("{a}{b}"), "{api: sk-1}, {api: sk-2}");
        let second = config(&format!("{c}{b}"), "{api: sk-3}, {api: sk-2}").succeeding(&first);
        assert_eq!(ids(&second), [("c", 2), ("b", 1)]);
        assert!(Arc::ptr_eq(&first.channels[1], &second.channels[1]));
        let third = config(&format!("{a}{b}{c}"), "{api: sk-1}, {api: sk-2}").succeeding(&second);
        assert_eq!(ids(&third), [("a", 3), ("b", 1), ("c", 2)]);
        let clients = |config: &Config| config.client_keys.iter().map(|client| client.id).collect::<Vec<_>>();
        assert_eq!([clients(&first), clients(&second), clients(&third)], [vec![0, 1], vec![2, 1], vec![3, 1]]);
        let lost: Vec<_> = first.lost_to(&second).map(|channel| &*channel.name).collect();
        assert_eq!(lost, ["a"]);
    }

    #[test]
    fn a_channel_that_has_changed_keeps_its_id_only() {
        let first = config(&provider("a", "k"), "{api: sk-1}");
        let second = config(&provider("a", "other"), "{api: sk-1}").succeeding(&first);
        assert_eq!(ids(&second), [("a", 0)]);
        assert_eq!(first.lost_to(&second).count(), 1);
    }

    #[test]
    fn of_channels_with_one_name_each_stays_what_it_is() {
        let [one, two] = ["k1", "k2"].map(|key| provider("a", key));
        let first = config(&format!("{one}{two}"), "{api: sk-1}");
        let second = config(&format!("{two}{one}"), "{api: sk-1}").succeeding(&first);
        assert_eq!(ids(&second), [("a", 1), ("a", 0)]);
        assert_eq!(first.lost_to(&second).count(), 0);
    }
}
