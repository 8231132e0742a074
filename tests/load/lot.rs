//! What is asked, and what goes wrong: drawn for each request by its number alone, so that every run is the same.
//!
//! A request meets the faults of its lot one after the other, one at each attempt, whichever channel makes it. Then
//! comes the ending.

use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use crate::support::CHAT;

/// The length of a long prompt, in bytes.
const LONG_BYTES: usize = 20_000;
/// What stands before the number of a request, in its prompt.
pub const MARK: &str = "request number ";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Short,
    /// With a prompt of 20 KB.
    Long,
    Stream,
    Embedding,
    /// By a channel that speaks as Anthropic does.
    Translated,
    TranslatedStream,
}

/// What one attempt meets in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 500.
    Broken,
    /// 429 with a `Retry-After` of a second.
    Limited,
    /// The connection is reset before the head.
    ResetOnce,
    /// The same happens to the request that is sent again.
    Reset,
    /// The connection is closed before the head, twice.
    Closed,
    /// The connection is closed in the midst of the head, twice.
    HalfHead,
    /// The body ends before its length, or a stream before its first word.
    Truncated,
    /// Nothing comes.
    Silence,
    /// A page in place of the answer, with a status of success.
    Page,
    /// What comes is not HTTP.
    Noise,
}

/// What becomes of a request after the faults of its lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Whole,
    /// The same, with a head that is a long time coming.
    Slow,
    /// The upstream closes a stream after its first words.
    Cut,
    /// The upstream resets it there.
    Reset,
    /// The upstream falls silent there.
    Silence,
    /// The upstream refuses the request as wrong.
    Rejected,
    /// Every attempt fails.
    Doomed,
    /// The client leaves while there is no answer.
    LeftEarly,
    /// The client leaves after the first word of a stream.
    LeftMidway,
}

/// One request and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    pub number: u64,
    pub kind: Kind,
    pub faults: Vec<Fault>,
    pub ending: Ending,
    /// How many words the answer has.
    pub words: usize,
    /// Between two words of a stream.
    pub pause: Duration,
}

impl Kind {
    pub fn streams(self) -> bool {
        matches!(self, Self::Stream | Self::TranslatedStream)
    }

    pub fn is_translated(self) -> bool {
        matches!(self, Self::Translated | Self::TranslatedStream)
    }

    pub fn path(self) -> &'static str {
        if self == Self::Embedding { "/v1/embeddings" } else { CHAT }
    }

    pub fn model(self) -> &'static str {
        match self {
            Self::Embedding => "embedder",
            Self::Translated | Self::TranslatedStream => "translated",
            _ => "native",
        }
    }

    fn drawn(rng: &mut Rng) -> Self {
        match rng.u8(..100) {
            0..35 => Self::Short,
            35..42 => Self::Long,
            42..67 => Self::Stream,
            67..82 => Self::Embedding,
            82..90 => Self::Translated,
            _ => Self::TranslatedStream,
        }
    }
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::Broken,
        Self::Limited,
        Self::ResetOnce,
        Self::Reset,
        Self::Closed,
        Self::HalfHead,
        Self::Truncated,
        Self::Silence,
        Self::Page,
        Self::Noise,
    ];

    /// How many connections in a row are lost to it, if any: the gateway sends what was lost with a
    /// connection again over another one, within the same attempt.
    pub fn losses(self) -> Option<usize> {
        match self {
            Self::ResetOnce => Some(1),
            Self::Reset | Self::Closed => Some(2),
            _ => None,
        }
    }
}

impl Ending {
    fn drawn(kind: Kind, rng: &mut Rng) -> Self {
        match (rng.u16(..1000), kind.streams()) {
            (0..10, _) => Self::Slow,
            (10..15, _) => Self::Rejected,
            (15..16, _) => Self::Doomed,
            (16..21, _) => Self::LeftEarly,
            (21..31, true) => Self::Cut,
            (31..41, true) => Self::Reset,
            (41..46, true) => Self::Silence,
            (46..76, true) => Self::LeftMidway,
            _ => Self::Whole,
        }
    }
}

impl Lot {
    /// The lot of this request among those of a seed.
    pub fn drawn(seed: u64, number: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let kind = Kind::drawn(&mut rng);
        let count = match rng.u16(..1000) {
            0..930 => 0,
            930..980 => 1,
            _ => 2,
        };
        let mut faults: Vec<Fault> = (0..count).filter_map(|_| rng.choice(Fault::ALL)).collect();
        // One that is waited for is enough.
        if faults == [Fault::Silence, Fault::Silence] {
            faults.pop();
        }
        let ending = Ending::drawn(kind, &mut rng);
        let words = if kind.streams() { rng.usize(5..20) } else { 3 };
        Self { number, kind, faults, ending, words, pause: Duration::from_millis(rng.u64(5..40)) }
    }

    /// The words of the answer; no other request has them.
    pub fn text(&self) -> String {
        (0..self.words).map(|word| self.word(word)).collect()
    }

    pub fn word(&self, word: usize) -> String {
        format!("{}:{word} ", self.number)
    }

    /// The body of the request.
    pub fn body(&self) -> String {
        let mut prompt = format!("{MARK}{}.", self.number);
        if self.kind == Kind::Long {
            prompt.extend(std::iter::repeat_n(" And so on.", LONG_BYTES / 11));
        }
        let model = self.kind.model();
        match self.kind {
            Kind::Embedding => json!({"model": model, "input": prompt}),
            kind => json!({
                "model": model, "messages": [{"role": "user", "content": prompt}], "stream": kind.streams(),
            }),
        }
        .to_string()
    }

    /// Whether nothing at all goes wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty() && self.ending == Ending::Whole
    }
}
