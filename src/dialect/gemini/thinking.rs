//! Writes how much the model thinks.
//!
//! Google's guide "OpenAI compatibility" says how many tokens an effort stands for; the guide
//! "Thinking" which budgets and levels a model takes.

use serde::Serialize;

use crate::canon::{Effort, Reasoning};

use super::models::Thinking;

/// `thinkingConfig`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    include_thoughts: bool,
}

/// What the model is told of thinking, if anything.
pub(super) fn thinking_config(reasoning: Reasoning, thinking: Thinking) -> Option<ThinkingConfig> {
    let asked = match (reasoning.budget_tokens, reasoning.effort) {
        (None, None) => reasoning.shown == Some(true),
        (Some(0), _) | (None, Some(Effort::None)) => false,
        _ => true,
    };
    let include_thoughts = asked && reasoning.shown != Some(false);
    let shown = ThinkingConfig { include_thoughts, ..ThinkingConfig::default() };
    match thinking {
        Thinking::Never => None,
        _ if reasoning.budget_tokens.is_none() && reasoning.effort.is_none() => asked.then_some(shown),
        Thinking::Budget { may_rest: true, .. } if !asked => Some(ThinkingConfig { thinking_budget: Some(0), ..shown }),
        Thinking::Budget { least, most, .. } => {
            let tokens = reasoning.budget_tokens.unwrap_or_else(|| reasoning.effort.map_or(0, tokens));
            Some(ThinkingConfig { thinking_budget: Some(tokens.clamp(least, most)), ..shown })
        }
        Thinking::Level { minimal, medium } => {
            let effort = reasoning.budget_tokens.map(effort).or(reasoning.effort).unwrap_or(Effort::High);
            let level = match effort {
                Effort::None | Effort::Minimal if minimal => "MINIMAL",
                Effort::None | Effort::Minimal | Effort::Low => "LOW",
                Effort::Medium if medium => "MEDIUM",
                _ => "HIGH",
            };
            Some(ThinkingConfig { thinking_level: Some(level), ..shown })
        }
    }
}

fn tokens(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal | Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High => 24_576,
        Effort::XHigh | Effort::Max => u64::MAX,
    }
}

fn effort(tokens: u64) -> Effort {
    match tokens {
        0 => Effort::None,
        1..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        _ => Effort::High,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const FLASH: Thinking = Thinking::Budget { may_rest: true, least: 512, most: 24_576 };
    const PRO: Thinking = Thinking::Budget { may_rest: false, least: 128, most: 32_768 };
    const WORDS: Thinking = Thinking::Level { minimal: true, medium: true };
    const TWO_WORDS: Thinking = Thinking::Level { minimal: false, medium: false };

    fn with_effort(effort: Effort, thinking: Thinking) -> Value {
        let reasoning = Reasoning { effort: Some(effort), ..Reasoning::default() };
        serde_json::to_value(thinking_config(reasoning, thinking)).unwrap()
    }

    fn with_budget(tokens: u64, thinking: Thinking) -> Value {
        let reasoning = Reasoning { budget_tokens: Some(tokens), ..Reasoning::default() };
        serde_json::to_value(thinking_config(reasoning, thinking)).unwrap()
    }

    #[test]
    fn an_effort_is_a_budget_within_what_the_model_takes() {
        assert_eq!(with_effort(Effort::Low, PRO), json!({"thinkingBudget": 1024, "includeThoughts": true}));
        assert_eq!(with_effort(Effort::Max, PRO), json!({"thinkingBudget": 32_768, "includeThoughts": true}));
        assert_eq!(with_budget(100, FLASH), json!({"thinkingBudget": 512, "includeThoughts": true}));
        assert_eq!(with_budget(1_000_000, FLASH), json!({"thinkingBudget": 24_576, "includeThoughts": true}));
    }

    #[test]
    fn an_effort_is_a_level_that_the_model_knows() {
        assert_eq!(with_effort(Effort::Minimal, WORDS), json!({"thinkingLevel": "MINIMAL", "includeThoughts": true}));
        assert_eq!(with_effort(Effort::Medium, WORDS), json!({"thinkingLevel": "MEDIUM", "includeThoughts": true}));
        assert_eq!(with_effort(Effort::Minimal, TWO_WORDS), json!({"thinkingLevel": "LOW", "includeThoughts": true}));
        assert_eq!(with_effort(Effort::Medium, TWO_WORDS), json!({"thinkingLevel": "HIGH", "includeThoughts": true}));
        assert_eq!(with_budget(4096, WORDS), json!({"thinkingLevel": "MEDIUM", "includeThoughts": true}));
    }

    #[test]
    fn none_is_the_least_that_the_model_allows_and_shows_nothing() {
        assert_eq!(with_effort(Effort::None, FLASH), json!({"thinkingBudget": 0}));
        assert_eq!(with_budget(0, FLASH), json!({"thinkingBudget": 0}));
        assert_eq!(with_effort(Effort::None, PRO), json!({"thinkingBudget": 128}));
        assert_eq!(with_effort(Effort::None, WORDS), json!({"thinkingLevel": "MINIMAL"}));
        assert_eq!(with_budget(0, TWO_WORDS), json!({"thinkingLevel": "LOW"}));
    }

    #[test]
    fn thoughts_are_shown_when_they_were_asked_for_and_not_hidden() {
        let hidden = Reasoning { effort: Some(Effort::Low), shown: Some(false), ..Reasoning::default() };
        assert_eq!(serde_json::to_value(thinking_config(hidden, WORDS)).unwrap(), json!({"thinkingLevel": "LOW"}));
        let shown = Reasoning { shown: Some(true), ..Reasoning::default() };
        assert_eq!(serde_json::to_value(thinking_config(shown, PRO)).unwrap(), json!({"includeThoughts": true}));
        assert_eq!(thinking_config(Reasoning::default(), WORDS), None);
        assert_eq!(with_effort(Effort::High, Thinking::Never), Value::Null);
    }
}
