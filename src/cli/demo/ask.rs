//! One streamed question to the gateway, shown as its answer arrives.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::canon::Usage;
use crate::config::TimeLimits;
use crate::dialect::openai_chat::read_chunk;
use crate::dialect::sse::{self, Splitter};
use crate::upstream::{Target, send};

/// What came back.
#[derive(Default)]
pub struct Answer {
    /// All of its words.
    pub text: String,
    /// From the request to the first word.
    pub first_token: Option<Duration>,
    /// From the request to the end.
    pub total: Duration,
    /// The token counts.
    pub usage: Option<Usage>,
    finish_reason: Option<String>,
    is_done: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Error {
    message: String,
}

impl Answer {
    /// Why this is not the whole of the expected answer, if it is not.
    pub fn fault(&self, expected: &str) -> Option<&'static str> {
        match self {
            Self { is_done: false, .. } => Some("the stream ended without [DONE]"),
            Self { text, .. } if text != expected => Some("the text is not what the upstream said"),
            Self { finish_reason: None, .. } => Some("no finish_reason came"),
            Self { usage: None, .. } => Some("no usage came"),
            _ => None,
        }
    }

    /// Takes in whole events; gives back the words in them.
    fn read(&mut self, block: &[u8]) -> Result<String, String> {
        let mut words = String::new();
        for data in sse::events(block).filter_map(|event| event.data) {
            if self.is_done {
                return Err("something came after [DONE]".to_owned());
            }
            if &*data == b"[DONE]" {
                self.is_done = true;
                continue;
            }
            let chunk: Chunk = serde_json::from_slice(&data).map_err(|error| format!("a strange event: {error}"))?;
            if let Some(error) = chunk.error {
                return Err(error.message);
            }
            self.usage = read_chunk(&data).ok().and_then(|facts| facts.usage).or(self.usage);
            for choice in chunk.choices {
                words.push_str(choice.delta.content.as_deref().unwrap_or_default());
                self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
            }
        }
        self.text.push_str(&words);
        Ok(words)
    }
}

/// Asks, and shows the words of the answer while they come in.
///
/// # Errors
///
/// No answer, or one that broke off; why.
pub async fn ask(
    target: &Target,
    model: &str,
    question: &str,
    limits: &TimeLimits,
    out: &mut dyn Write,
) -> Result<Answer, String> {
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let started = Instant::now();
    let sent = send(target, Bytes::from(body.to_string()).into(), limits).await.map_err(|failure| failure.message)?;
    let mut stream = sent.body;
    let mut splitter = Splitter::default();
    let mut answer = Answer::default();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|failure| failure.message)?;
        let block = splitter.push(piece).map_err(|_| "an event without end")?;
        let words = answer.read(&block)?;
        if !words.is_empty() {
            answer.first_token.get_or_insert_with(|| started.elapsed());
            show(&words, out).map_err(|error| error.to_string())?;
        }
    }
    answer.total = started.elapsed();
    Ok(answer)
}

fn show(words: &str, out: &mut dyn Write) -> std::io::Result<()> {
    out.write_all(words.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    const USAGE: &[u8] = b"data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n";

    fn fault(blocks: &[&[u8]]) -> Option<&'static str> {
        let mut answer = Answer::default();
        blocks.iter().for_each(|block| drop(answer.read(block).unwrap()));
        answer.fault("hi")
    }

    #[test]
    fn only_the_whole_answer_is_without_fault() {
        assert_eq!(fault(&[WORD, USAGE, sse::DONE]), None);
        assert!(fault(&[WORD, USAGE]).unwrap().contains("[DONE]"));
        assert!(fault(&[WORD, WORD, USAGE, sse::DONE]).unwrap().contains("text"));
        assert!(fault(&[WORD, sse::DONE]).unwrap().contains("usage"));
    }

    #[test]
    fn an_error_in_the_stream_is_told() {
        let error = Answer::default().read(b"data: {\"error\":{\"message\":\"overloaded\"}}\n\n");
        assert_eq!(error.unwrap_err(), "overloaded");
    }

    #[test]
    fn nothing_may_come_after_the_end() {
        let mut answer = Answer::default();
        answer.read(sse::DONE).unwrap();
        assert!(answer.read(WORD).is_err());
    }
}
