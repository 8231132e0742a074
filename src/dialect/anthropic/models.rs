//! What Claude models can do, told by their name.

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It cannot.
    Never,
    /// With a budget of tokens.
    Budget,
    /// By itself, or with a budget.
    Either,
    /// By itself only; a budget is refused.
    Adaptive,
}

/// What a request for a model may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// `max_tokens`, which the format demands, when the client sets none.
    pub max_tokens: u64,
    /// How it thinks.
    pub thinking: Thinking,
    /// It takes temperature, top_p and top_k.
    pub sampling: bool,
    /// It takes temperature and top_p together.
    pub both_of_sampling: bool,
    /// It takes `output_config.format`.
    pub structured_output: bool,
    /// It thinks unless it is told not to.
    pub thinks_by_default: bool,
    /// It takes `output_config.effort: xhigh`.
    pub xhigh: bool,
}

/// The abilities of the model of this name; other models that speak this format are taken for plain
/// ones.
pub(super) fn abilities(model: &str) -> Abilities {
    let Some((major, minor)) = generation(model) else {
        return Abilities {
            max_tokens: 8192,
            thinking: Thinking::Budget,
            sampling: true,
            both_of_sampling: true,
            structured_output: false,
            thinks_by_default: false,
            xhigh: false,
        };
    };
    let version = (major, minor);
    Abilities {
        max_tokens: match version {
            (..3, _) | (3, ..5) => 4096,
            (3, 5 | 6) => 8192,
            // Prompt and max_tokens together must fit into their window.
            (3, _) | (4, ..5) => 32_000,
            _ => 64_000,
        },
        thinking: match version {
            (..3, _) | (3, ..7) => Thinking::Never,
            (3, _) | (4, ..6) => Thinking::Budget,
            (4, 6) => Thinking::Either,
            _ => Thinking::Adaptive,
        },
        sampling: version < (4, 7),
        both_of_sampling: version < (4, 1),
        structured_output: version >= (4, 5),
        thinks_by_default: major >= 5,
        xhigh: version >= (4, 7),
    }
}

/// `(4, 5)` of `claude-sonnet-4-5-20250929`, `(3, 5)` of `claude-3-5-haiku@20241022`.
fn generation(model: &str) -> Option<(u32, u32)> {
    let words = || model.split(|c: char| !c.is_ascii_alphanumeric());
    if !words().any(|word| word.eq_ignore_ascii_case("claude")) {
        return None;
    }
    // Longer numbers are dates.
    let version = |word: &str| if word.len() <= 2 { word.parse().ok() } else { None };
    let mut rest = words().skip_while(|word| version(word).is_none());
    let major = rest.next().and_then(version)?;
    Some((major, rest.next().and_then(version).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_generation() {
        for (name, expected) in [
            ("claude-3-5-haiku-20241022", Some((3, 5))),
            ("claude-3-opus@20240229", Some((3, 0))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-sonnet-4-5@20250929", Some((4, 5))),
            ("anthropic/claude-opus-4.7", Some((4, 7))),
            ("claude-sonnet-5", Some((5, 0))),
            ("claude-instant", None),
            ("deepseek-v3", None),
        ] {
            assert_eq!(generation(name), expected, "{name}");
        }
    }

    #[test]
    fn newer_models_think_by_themselves_and_draw_tokens_by_themselves() {
        assert_eq!(abilities("claude-3-haiku-20240307").thinking, Thinking::Never);
        assert_eq!(abilities("claude-sonnet-4-5").thinking, Thinking::Budget);
        assert_eq!(abilities("claude-opus-4-6").thinking, Thinking::Either);
        assert_eq!(abilities("claude-opus-4-8").thinking, Thinking::Adaptive);
        assert!(abilities("claude-opus-4-6").sampling && !abilities("claude-opus-4-7").sampling);
        assert!(!abilities("claude-sonnet-4-0").structured_output && abilities("claude-haiku-4-5").structured_output);
    }
}
