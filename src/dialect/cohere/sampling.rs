//! How tokens are drawn and when they end; alike in both versions.

use serde::Serialize;

use crate::canon::{ChatRequest, Failure};
use crate::dialect::json::untranslatable;

/// The format takes this many stop sequences.
const MAX_STOPS: usize = 5;

#[derive(Serialize)]
pub(super) struct WireSampling<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
}

/// The sampling of a request, in the ranges that Cohere accepts.
///
/// # Errors
///
/// `Untranslatable` for several choices and for too many stop sequences.
pub(super) fn sampling<'r>(request: &'r ChatRequest<'_>) -> Result<WireSampling<'r>, Failure> {
    let sampling = &request.sampling;
    if sampling.choices.is_some_and(|choices| choices > 1) {
        return Err(untranslatable("this channel gives one choice; leave \"n\" out").at("n"));
    }
    let stop_sequences: Vec<&str> = request.stop.iter().map(AsRef::as_ref).filter(|stop| !stop.is_empty()).collect();
    if stop_sequences.len() > MAX_STOPS {
        return Err(untranslatable("this channel takes five stop sequences at most; send fewer").at("stop"));
    }
    // Only from 0 to 1, and one of the two.
    let penalty = |penalty: Option<f64>| penalty.map(|penalty| penalty.min(1.0)).filter(|penalty| *penalty > 0.0);
    let frequency_penalty = penalty(sampling.frequency_penalty);
    Ok(WireSampling {
        temperature: sampling.temperature.map(|temperature| temperature.clamp(0.0, 1.0)),
        p: sampling.top_p.map(|p| p.clamp(0.01, 0.99)),
        k: sampling.top_k.map(|k| k.min(500)),
        max_tokens: sampling.max_tokens,
        stop_sequences,
        // Any number does, as long as the same gives the same.
        seed: sampling.seed.map(i64::unsigned_abs),
        frequency_penalty,
        presence_penalty: penalty(sampling.presence_penalty).filter(|_| frequency_penalty.is_none()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canon::{FailureKind, Sampling};

    fn written(sampling: Sampling, stop: &[&'static str]) -> Result<Value, Failure> {
        let stop = stop.iter().map(|stop| (*stop).into()).collect();
        let request = ChatRequest { sampling, stop, ..ChatRequest::default() };
        super::sampling(&request).map(|wire| serde_json::to_value(wire).unwrap())
    }

    #[test]
    fn values_are_brought_into_the_ranges_that_cohere_accepts() {
        let far_out = Sampling {
            temperature: Some(1.5),
            top_p: Some(1.0),
            top_k: Some(9000),
            seed: Some(-7),
            frequency_penalty: Some(-1.0),
            presence_penalty: Some(1.5),
            ..Sampling::default()
        };
        let expected = json!({ "temperature": 1.0, "p": 0.99, "k": 500, "seed": 7, "presence_penalty": 1.0 });
        assert_eq!(written(far_out, &[""]).unwrap(), expected);
    }

    #[test]
    fn of_two_penalties_one_is_sent() {
        let both = Sampling { frequency_penalty: Some(0.5), presence_penalty: Some(0.25), ..Sampling::default() };
        assert_eq!(written(both, &[]).unwrap(), json!({ "frequency_penalty": 0.5 }));
    }

    #[test]
    fn several_choices_and_a_sixth_stop_sequence_cannot_be_said() {
        let failure = written(Sampling { choices: Some(2), ..Sampling::default() }, &[]).unwrap_err();
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::Untranslatable, Some("n")));
        let failure = written(Sampling::default(), &["a", "b", "c", "d", "e", "f"]).unwrap_err();
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::Untranslatable, Some("stop")));
        assert!(written(Sampling { choices: Some(1), ..Sampling::default() }, &["a", "b", "c", "d", "e"]).is_ok());
    }
}
