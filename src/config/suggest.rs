//! "Did you mean …?", and which words of a configuration may be repeated in a message at all.

use super::secret::Secret;

/// The candidate that `word` was most likely meant to be. Letter case does not count.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `, did you mean "x"?`, or nothing when no candidate is close.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map(|candidate| format!(", did you mean {}?", quoted(candidate))).unwrap_or_default()
}

/// The choice that goes by this name, in any letter case; what to tell the user when there is none.
pub fn choice<T: Copy>(written: &str, all: &[(T, &'static str)]) -> Result<T, String> {
    let word = written.trim().to_lowercase();
    if let Some((choice, _)) = all.iter().find(|(_, name)| *name == word) {
        return Ok(*choice);
    }
    let names: Vec<_> = all.iter().map(|(_, name)| *name).collect();
    let hint = did_you_mean(&word, names.iter().copied());
    Err(format!("unknown word {}{hint} (there are {})", quoted(written), names.join(", ")))
}

/// The word in quotes, masked if it could be a credential that landed in the wrong place.
pub fn quoted(word: &str) -> String {
    format!("\"{}\"", shown(word))
}

/// The word itself, masked if it could be a credential that landed in the wrong place.
pub fn shown(word: &str) -> String {
    if looks_secret(word) { Secret::new(word).masked() } else { word.escape_debug().to_string() }
}

/// Whether this could be a credential. Wrong guesses only cost a less helpful message.
fn looks_secret(word: &str) -> bool {
    const PREFIXES: [&str; 8] = ["sk-", "sk_", "gsk_", "xai-", "AIza", "eyJ", "ghp_", "-----BEGIN"];
    if PREFIXES.iter().any(|prefix| word.starts_with(prefix)) || word.chars().count() > 80 {
        return true;
    }
    // A long run without any separator that mixes digits and both cases is not a name.
    word.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        run.len() >= 20 && run.contains(|c: char| c.is_ascii_digit()) && run.contains(|c: char| c.is_ascii_alphabetic())
    })
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (i, a_char) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        let mut previous_b = None;
        for (j, b_char) in b.iter().copied().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best =
                (at(&last, j + 1) + 1).min(at(&row, j) + 1).min(at(&last, j) + usize::from(a_char != b_char));
            if previous_a == Some(b_char) && previous_b == Some(a_char) && j > 0 {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            previous_b = Some(b_char);
        }
        previous_a = Some(a_char);
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("model", "model"), 0);
        assert_eq!(distance("modle", "model"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn the_closest_word_is_found_and_far_words_are_not() {
        let words = ["provider", "base_url", "model", "api"];
        assert_eq!(closest("provder", words), Some("provider"));
        assert_eq!(closest("Base_URL", words), Some("base_url"));
        assert_eq!(closest("ap", words), Some("api"));
        assert_eq!(closest("temperature", words), None);
        assert_eq!(did_you_mean("modle", words), ", did you mean \"model\"?");
        assert_eq!(did_you_mean("temperature", words), "");
    }

    #[test]
    fn a_choice_is_made_by_name_or_explained() {
        let all = [(1, "one"), (2, "two")];
        assert_eq!(choice(" TWO ", &all), Ok(2));
        assert_eq!(
            choice("tow", &all),
            Err("unknown word \"tow\", did you mean \"two\"? (there are one, two)".to_owned())
        );
        assert!(!choice("sk-CANARY", &all).unwrap_err().contains("CANARY"));
    }

    #[test]
    fn a_word_that_looks_like_a_credential_is_masked() {
        for secret in ["sk-CANARY", "AIzaSyCANARY01234567", "f42b3CANARY00xxxxq4aoGAh", "gsk_CANARY"] {
            assert!(!quoted(secret).contains("CANARY"), "{secret}");
        }
        for name in ["gpt-4o", "claude-3-5-sonnet-20240620", "@cf/meta/llama-3.1-8b-instruct", "SCHEDULING_ALGORITHM"] {
            assert_eq!(quoted(name), format!("\"{name}\""));
        }
    }
}
