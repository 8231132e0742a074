//! What Gemini models can do, told by their name and host.

use super::Host;

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It cannot be asked.
    Never,
    /// With a budget of tokens.
    Budget {
        /// None at all is possible.
        may_rest: bool,
        /// The least other budget.
        least: u64,
        /// The greatest.
        most: u64,
    },
    /// With a word.
    Level {
        /// It knows `MINIMAL`.
        minimal: bool,
        /// It knows `MEDIUM`.
        medium: bool,
    },
}

/// How a model is made to answer in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonOutput {
    /// By asking it to.
    Instruction,
    /// `responseSchema`.
    Schema,
    /// `responseJsonSchema`.
    JsonSchema,
}

/// What a request for a model may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// It takes `systemInstruction`.
    pub system: bool,
    /// It takes tools.
    pub tools: bool,
    /// How it answers in JSON.
    pub json: JsonOutput,
    /// It answers in JSON and uses tools in the same request.
    pub json_with_tools: bool,
    /// How it thinks.
    pub thinking: Thinking,
    /// It takes values for sampling; newer models refuse or ignore them.
    pub sampling: bool,
    /// It demands its signature on the first call of a step.
    pub signs_calls: bool,
    /// Calls and results have ids.
    pub call_ids: bool,
    /// Results of tools may hold images and documents.
    pub media_in_results: bool,
    /// It draws in more than one resolution.
    pub image_size: bool,
    /// Its safety filters can be turned off, not only made to block nothing.
    pub filters_go_off: bool,
}

/// A generation beyond all known ones.
const NEWEST: (u32, u32) = (u32::MAX, 0);

/// The abilities of the model of this name. One that is no Gemini model is taken for a plain one.
pub(super) fn abilities(model: &str, host: Host) -> Abilities {
    let words: Vec<&str> = model.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').collect();
    let has = |word: &str| words.iter().any(|own| own.eq_ignore_ascii_case(word));
    let (flash, lite) = (has("flash"), has("lite"));
    let generation = generation(&words);
    let is_v1 = host == Host::AiStudioV1;
    let is_plain = is_v1 || (has("gemma") && !has("4"));
    // Its numbers are its own.
    let is_banana = has("banana");
    let version = if is_banana { NEWEST } else { generation.unwrap_or((2, 0)) };
    let draws = has("image") || is_banana;
    let thinks = !is_plain && !draws && !has("tts") && !has("live");
    Abilities {
        system: !is_plain,
        tools: !is_plain,
        json: match version {
            _ if is_plain => JsonOutput::Instruction,
            (..2, _) | (2, ..5) => JsonOutput::Schema,
            _ => JsonOutput::JsonSchema,
        },
        json_with_tools: version >= (3, 0),
        thinking: match version {
            (..2, _) | (2, ..5) => Thinking::Never,
            _ if !thinks => Thinking::Never,
            (2, _) if lite => Thinking::Budget { may_rest: true, least: 512, most: 24_576 },
            (2, _) if flash => Thinking::Budget { may_rest: true, least: 1, most: 24_576 },
            (2, _) => Thinking::Budget { may_rest: false, least: 128, most: 32_768 },
            (3, 0) if !flash => Thinking::Level { minimal: false, medium: false },
            (3, ..=6) if flash => Thinking::Level { minimal: true, medium: true },
            _ => Thinking::Level { minimal: false, medium: true },
        },
        sampling: version < (3, 6) && !(lite && version >= (3, 5)) || generation.is_none(),
        signs_calls: version >= (3, 0),
        // Vertex refused the field for long, and older models there may still.
        call_ids: match host {
            Host::AiStudio => true,
            Host::AiStudioV1 => false,
            Host::Vertex => version >= (3, 0),
        },
        media_in_results: version >= (3, 0),
        image_size: draws && version >= (3, 0) && !lite,
        filters_go_off: version >= (2, 5) && !is_v1,
    }
}

/// `(2, 5)` of `gemini-2.5-flash`, `(3, 0)` of `gemini-3-pro-preview`.
fn generation(words: &[&str]) -> Option<(u32, u32)> {
    let mut rest = words.iter().skip_while(|word| !word.eq_ignore_ascii_case("gemini")).skip(1).peekable();
    rest.peek()?;
    let version = |word: &&str| {
        let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
        // Longer numbers are dates.
        if major.len() > 2 { None } else { Some((major.parse().ok()?, minor.parse().ok()?)) }
    };
    let mut rest = rest.map(|word| (version(word), word.eq_ignore_ascii_case("latest")));
    rest.find_map(|(version, is_latest)| if is_latest { Some(NEWEST) } else { version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(model: &str) -> Abilities {
        abilities(model, Host::AiStudio)
    }

    #[test]
    fn the_name_tells_the_generation() {
        for (name, expected) in [
            ("gemini-1.5-flash-002", Some((1, 5))),
            ("gemini-2.0-flash-lite-001", Some((2, 0))),
            ("models/gemini-2.5-pro-preview-06-05", Some((2, 5))),
            ("google/gemini-3-flash-preview", Some((3, 0))),
            ("gemini-3.1-pro-preview", Some((3, 1))),
            ("gemini-flash-latest", Some(NEWEST)),
            ("gemini-exp-1206", None),
            ("gemma-3-27b-it", None),
        ] {
            let words: Vec<_> = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').collect();
            assert_eq!(generation(&words), expected, "{name}");
        }
    }

    #[test]
    fn older_models_think_with_a_budget_and_newer_ones_with_a_word() {
        assert_eq!(of("gemini-2.0-flash").thinking, Thinking::Never);
        assert_eq!(of("gemini-2.5-flash-image").thinking, Thinking::Never);
        assert_eq!(of("gemini-2.5-pro").thinking, Thinking::Budget { may_rest: false, least: 128, most: 32_768 });
        assert_eq!(of("gemini-2.5-flash").thinking, Thinking::Budget { may_rest: true, least: 1, most: 24_576 });
        assert_eq!(of("gemini-2.5-flash-lite").thinking, Thinking::Budget { may_rest: true, least: 512, most: 24_576 });
        assert_eq!(of("gemini-3-pro-preview").thinking, Thinking::Level { minimal: false, medium: false });
        assert_eq!(of("gemini-3-flash-preview").thinking, Thinking::Level { minimal: true, medium: true });
        assert_eq!(of("gemini-3.1-pro-preview").thinking, Thinking::Level { minimal: false, medium: true });
        assert_eq!(of("gemini-3.8-flash").thinking, Thinking::Level { minimal: false, medium: true });
        assert_eq!(of("gemini-flash-latest").thinking, Thinking::Level { minimal: false, medium: true });
    }

    #[test]
    fn the_newest_models_draw_tokens_by_themselves() {
        for name in ["gemini-1.5-pro", "gemini-2.5-flash", "gemini-3.5-flash", "gemini-exp-1206", "gemma-3-27b-it"] {
            assert!(of(name).sampling, "{name}");
        }
        for name in ["gemini-3.5-flash-lite", "gemini-3.6-flash", "gemini-4-pro", "gemini-pro-latest"] {
            assert!(!of(name).sampling, "{name}");
        }
    }

    #[test]
    fn plain_models_and_the_plain_version_of_the_api_know_a_conversation_only() {
        for plain in [of("gemma-3-27b-it"), abilities("gemini-2.5-pro", Host::AiStudioV1)] {
            assert!(!plain.system && !plain.tools);
            assert_eq!((plain.json, plain.thinking), (JsonOutput::Instruction, Thinking::Never));
        }
        assert!(of("gemma-4-31b-it").system && of("gemma-4-31b-it").tools);
    }

    #[test]
    fn newer_image_models_draw_in_several_resolutions() {
        for name in ["gemini-3-pro-image", "gemini-3.1-flash-image", "gemini-nano-banana-2.1", "nano-banana-pro"] {
            assert!(of(name).image_size && of(name).filters_go_off, "{name}");
            assert_eq!(of(name).thinking, Thinking::Never);
        }
        for name in ["gemini-2.5-flash-image", "gemini-3.1-flash-lite-image", "gemini-3.8-flash"] {
            assert!(!of(name).image_size, "{name}");
        }
    }

    #[test]
    fn vertex_has_ids_of_calls_for_newer_models() {
        assert!(of("gemini-2.5-flash").call_ids);
        assert!(!abilities("gemini-2.5-flash", Host::Vertex).call_ids);
        assert!(abilities("gemini-3-flash-preview", Host::Vertex).call_ids);
    }
}
