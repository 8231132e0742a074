//! The keys of one channel, used in turn.

/// Hands out positions `0..size` round robin.
///
/// A channel without keys has one position that stands for "no key".
#[derive(Debug)]
pub struct KeyRing {
    size: usize,
    next: usize,
}

impl KeyRing {
    /// A ring over this many keys.
    pub fn new(keys: usize) -> Self {
        Self { size: keys.max(1), next: 0 }
    }

    /// The next key in turn that `is_tried` does not exclude; `None` when all are.
    pub fn pick(&mut self, is_tried: impl Fn(usize) -> bool) -> Option<usize> {
        let key = (0..self.size).map(|step| (self.next + step) % self.size).find(|key| !is_tried(*key))?;
        self.next = (key + 1) % self.size;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_used_in_turn() {
        let mut ring = KeyRing::new(3);
        let picked: Vec<_> = (0..5).filter_map(|_| ring.pick(|_| false)).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_tried_key_is_passed_over() {
        let mut ring = KeyRing::new(3);
        assert_eq!(ring.pick(|key| key == 0), Some(1));
        assert_eq!(ring.pick(|key| key == 2), Some(0));
        assert_eq!(ring.pick(|_| true), None);
    }

    #[test]
    fn a_channel_without_keys_can_be_used_once_per_request() {
        let mut ring = KeyRing::new(0);
        assert_eq!(ring.pick(|_| false), Some(0));
        assert_eq!(ring.pick(|key| key == 0), None);
    }
}
