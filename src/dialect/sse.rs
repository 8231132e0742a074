//! Server-sent events: cutting a stream of bytes into whole events, and writing one.
//!
//! Source: the WHATWG HTML standard, "Server-sent events". Lines end with LF or CRLF; a CR alone,
//! which the standard also allows, is sent by no provider and is not taken as an end.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memrchr_iter};

/// An event may be this long, in bytes; one with a large image has some 30 MB. One that is longer is no
/// event but a runaway upstream.
pub const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// What ends a stream in OpenAI's format.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Cuts pieces of a stream, however the network split them, into blocks of whole events.
///
/// The usual piece is a whole number of events and is handed on without a copy.
#[derive(Default)]
pub struct Splitter {
    carry: BytesMut,
}

/// An event grew beyond [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub struct EventTooLong;

impl Splitter {
    /// Takes the next piece; gives back all whole events that are there now, maybe none (empty).
    pub fn push(&mut self, mut piece: Bytes) -> Result<Bytes, EventTooLong> {
        if self.carry.is_empty() {
            let whole = piece.split_to(end_of_last_event(&piece, 0));
            self.carry.extend_from_slice(&piece);
            return Ok(whole);
        }
        // A boundary is at most four bytes long, so it begins at most three before the new piece.
        let unseen = self.carry.len().saturating_sub(3);
        self.carry.extend_from_slice(&piece);
        let whole = self.carry.split_to(end_of_last_event(&self.carry, unseen)).freeze();
        if self.carry.len() > MAX_EVENT_BYTES { Err(EventTooLong) } else { Ok(whole) }
    }

    /// What was left when the stream ended: an event without its blank line, or nothing.
    pub fn finish(&mut self) -> Bytes {
        self.carry.split().freeze()
    }
}

/// The length of `bytes`, which begin with a line, up to and with the last blank line that ends at or
/// behind `from`.
fn end_of_last_event(bytes: &[u8], from: usize) -> usize {
    if bytes.ends_with(b"\n\n") {
        return bytes.len();
    }
    let Some(unseen) = bytes.get(from..) else { return 0 };
    memrchr_iter(b'\n', unseen)
        .map(|at| from + at)
        .find(|&at| {
            let before = bytes.get(..at).unwrap_or_default();
            matches!(before, b"" | b"\r") || before.ends_with(b"\n") || before.ends_with(b"\n\r")
        })
        .map_or(0, |at| at + 1)
}

/// One event of a block.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Every byte of it, with its blank line.
    pub raw: &'a [u8],
    /// The text of its `data` lines; `None` for comments and the like.
    pub data: Option<Cow<'a, [u8]>>,
}

/// The events of a block that [`Splitter`] gave out. Their `raw` parts together are the block.
pub fn events(mut block: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let mut data: Option<Cow<'_, [u8]>> = None;
        let mut end = 0;
        while let Some(rest) = block.get(end..).filter(|rest| !rest.is_empty()) {
            let length = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = trim_line_end(rest.get(..length).unwrap_or_default());
            end += length;
            if line.is_empty() {
                break;
            }
            if let Some(value) = field(line, b"data") {
                data = Some(match data {
                    None => Cow::Borrowed(value),
                    Some(before) => {
                        let mut joined = before.into_owned();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                        Cow::Owned(joined)
                    }
                });
            }
        }
        let (raw, rest) = block.split_at_checked(end)?;
        block = rest;
        Some(Event { raw, data })
    })
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    if value.is_empty() {
        return Some(value);
    }
    let value = value.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Events of which the last may lack its blank line, with it.
pub fn closed(events: &[u8]) -> BytesMut {
    let mut closed = BytesMut::from(events);
    if !closed.is_empty() && !closed.ends_with(b"\n\n") {
        closed.extend_from_slice(if closed.ends_with(b"\n") { b"\n" } else { b"\n\n" });
    }
    closed
}

/// An event that carries one line of text.
pub fn write(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datas(block: &[u8]) -> Vec<String> {
        events(block).filter_map(|event| Some(String::from_utf8_lossy(&event.data?).into_owned())).collect()
    }

    #[test]
    fn a_whole_event_is_handed_on_without_a_copy() {
        let piece = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        let whole = Splitter::default().push(piece.clone()).unwrap();
        assert_eq!(whole.as_ptr(), piece.as_ptr());
        assert_eq!(whole, piece);
    }

    #[test]
    fn half_an_event_waits_for_its_other_half() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(Bytes::from_static(b"data: 1\n\nda")).unwrap(), "data: 1\n\n");
        assert_eq!(splitter.push(Bytes::from_static(b"ta: 2\n")).unwrap(), "");
        assert_eq!(splitter.push(Bytes::from_static(b"\n")).unwrap(), "data: 2\n\n");
        assert_eq!(splitter.finish(), "");
    }

    #[test]
    fn a_further_blank_line_does_not_wait() {
        let mut splitter = Splitter::default();
        for piece in ["data: 1\n\n", "\n", "\r\n", "\n\n"] {
            assert_eq!(splitter.push(Bytes::from_static(piece.as_bytes())).unwrap(), piece);
        }
        assert_eq!(splitter.push(Bytes::from_static(b"\r")).unwrap(), "");
        assert_eq!(splitter.push(Bytes::from_static(b"\n")).unwrap(), "\r\n");
        assert_eq!(splitter.finish(), "");
    }

    #[test]
    fn what_never_got_its_blank_line_is_given_out_at_the_end() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(Bytes::from_static(b"data: [DONE]\n")).unwrap(), "");
        assert_eq!(splitter.finish(), "data: [DONE]\n");
    }

    #[test]
    fn crlf_comments_event_names_and_several_data_lines_are_understood() {
        let block = b": ping\r\n\r\nevent: x\r\ndata: a\r\ndata:b\r\n\r\ndata\n\n";
        let found: Vec<_> = events(block).map(|event| event.data.map(|data| data.into_owned())).collect();
        assert_eq!(found, [None, Some(b"a\nb".to_vec()), Some(b"".to_vec())]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::default();
        let piece = Bytes::from(vec![b'x'; MAX_EVENT_BYTES / 2]);
        assert!(splitter.push(piece.clone()).is_ok());
        assert!(splitter.push(piece.clone()).is_ok());
        assert_eq!(splitter.push(piece), Err(EventTooLong));
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_same_events(
            texts in prop::collection::vec("[a-zé\\[\\]{}: ]{0,12}", 0..8),
            crlf in any::<bool>(),
            cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let stream: String = texts.iter().map(|text| format!("data: {text}{end}{end}")).collect();
            let stream = Bytes::from(stream);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let mut splitter = Splitter::default();
            let mut out = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([stream.len()]) {
                out.extend_from_slice(&splitter.push(stream.slice(from..cut)).unwrap());
                from = cut;
            }
            prop_assert_eq!(splitter.finish(), "");
            prop_assert_eq!(&out[..], &stream[..]);
            prop_assert_eq!(datas(&out), texts);
        }
    }
}
