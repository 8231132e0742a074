//! Where in `api.yaml` something is: `providers[2].api`.

use std::fmt;

/// One step down from the top of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the value behind this key.
    Key(String),
    /// Into this item of a list, counted from zero.
    Index(usize),
}

/// A place in the document; the empty path is the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The place behind `key`, below this one.
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// The item at `index`, below this one.
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// This place and `below` it.
    pub fn join(&self, below: &Self) -> Self {
        Self(self.0.iter().chain(&below.0).cloned().collect())
    }

    /// One step further down.
    pub fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The steps from the top.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The place around this one; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, above)| Self(above.to_vec()))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => write!(f, "{}", super::suggest::shown(key))?,
                Step::Key(key) => write!(f, ".{}", super::suggest::shown(key))?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_an_expression() {
        let path = KeyPath::default().key("providers").index(2).key("api").index(0);
        assert_eq!(path.to_string(), "providers[2].api[0]");
        assert_eq!(path.parent().unwrap().to_string(), "providers[2].api");
        assert_eq!(KeyPath::default().to_string(), "");
    }

    #[test]
    fn a_key_that_looks_like_a_credential_is_not_shown_in_a_path() {
        let path = KeyPath::default().key("sk-CANARY1234567890abcdef");
        assert!(!path.to_string().contains("CANARY"), "{path}");
    }
}
