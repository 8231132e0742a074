//! What a model answers, as a sequence of events. A whole answer is the sequence that a stream of it
//! would have been.

use super::chat::{Issuer, Signature, Source, Text};
use super::usage::Usage;

/// One step of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent<'a> {
    /// More text.
    Text(Text<'a>),
    /// More text of a refusal.
    Refusal(Text<'a>),
    /// More of a thought.
    Thinking {
        /// The piece.
        text: Text<'a>,
        /// Who will sign the thought; it is then worth sending back.
        issuer: Option<Issuer>,
    },
    /// The thought before this is complete, and this proves it. After text, it belongs to the text.
    Signature(Signature<'a>),
    /// A thought that only the provider can read.
    RedactedThinking(Signature<'a>),
    /// A tool call begins. Calls come one after the other; arguments belong to the latest.
    ToolCall {
        /// Never empty, never twice in an answer.
        id: Text<'a>,
        /// The function.
        name: Text<'a>,
        /// What the provider wants to see again with the call.
        signature: Option<Signature<'a>>,
    },
    /// More of the arguments, the text of a JSON object.
    ToolArguments(Text<'a>),
    /// An image that the model made.
    Image(Source<'a>),
    /// Where a statement comes from.
    Citation {
        /// The address.
        url: Text<'a>,
        /// The title there.
        title: Option<Text<'a>>,
    },
    /// Token counts up to here; the last one counts.
    Usage(Usage),
    /// Why the answer ends; the last one counts.
    Finish(FinishReason),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It is complete.
    Stop,
    /// It reached the limit of tokens.
    Length,
    /// The model waits for results of its calls.
    ToolCalls,
    /// The provider withheld the rest.
    ContentFilter,
}
