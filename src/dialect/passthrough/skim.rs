//! Steps over JSON values and builds nothing of them. As strict as serde_json, and faster in the long texts of prompts,
//! for it looks at 64 bytes at once, and where it goes on does not hang on each escape among them (after "Parsing
//! Gigabytes of JSON per Second", <https://arxiv.org/abs/1902.08318>).
//!
//! ```text
//! let mut json = Skim::new(r#"{"a": [1, "b"], "c": null}"#);
//! let mut fields = json.open(b'{')?;
//! while json.has_next(&mut fields)? {
//!     let (key, value) = (json.key()?, json.value()?);    // "\"a\"", "[1, \"b\"]"
//! }
//! json.end()?;
//! ```

use wide::u8x16;

/// A place in a document, between two values.
pub struct Skim<'a> {
    text: &'a str,
    at: usize,
}

/// This is no JSON, or not what was expected to stand here.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// An object or a list whose members are being stepped over.
pub struct Members {
    close: u8,
    is_first: bool,
}

impl<'a> Skim<'a> {
    /// At the start of a document.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes have been stepped over.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Steps into the object (`{`) or the list (`[`) that stands here.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn open(&mut self, bracket: u8) -> Result<Members, Malformed> {
        self.space();
        self.expect(bracket)?;
        Ok(Members { close: closing(bracket), is_first: true })
    }

    /// Whether there is one more member. Behind the last one it steps out of the object or the list.
    ///
    /// # Errors
    ///
    /// There is neither a member nor the end.
    pub fn has_next(&mut self, members: &mut Members) -> Result<bool, Malformed> {
        self.space();
        if self.takes(members.close) {
            return Ok(false);
        }
        if !std::mem::take(&mut members.is_first) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// Steps over a key and its colon; the key as it stands there, in quotes.
    ///
    /// # Errors
    ///
    /// There is no key with a colon.
    pub fn key(&mut self) -> Result<&'a str, Malformed> {
        self.space();
        let from = self.at;
        self.string()?;
        let key = self.text.get(from..self.at).ok_or(Malformed)?;
        self.space();
        self.expect(b':')?;
        Ok(key)
    }

    /// Whether a list stands here.
    pub fn is_at_list(&mut self) -> bool {
        self.space();
        self.next() == Some(b'[')
    }

    /// Steps over a value, however deep it is; the value as it stands there.
    ///
    /// # Errors
    ///
    /// There is no value.
    pub fn value(&mut self) -> Result<&'a str, Malformed> {
        self.space();
        let from = self.at;
        // How what is open here will close. A loop, for the stack of a thread has an end.
        let mut open = Vec::new();
        loop {
            self.space();
            match self.next().ok_or(Malformed)? {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                bracket @ (b'[' | b'{') => {
                    self.at += 1;
                    self.space();
                    let close = closing(bracket);
                    if !self.takes(close) {
                        open.push(close);
                        if close == b'}' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => return Err(Malformed),
            }
            loop {
                let Some(&close) = open.last() else { return self.text.get(from..self.at).ok_or(Malformed) };
                self.space();
                if self.takes(close) {
                    open.pop();
                    continue;
                }
                self.expect(b',')?;
                if close == b'}' {
                    self.key()?;
                }
                break;
            }
        }
    }

    /// Steps over what may stand behind a document.
    ///
    /// # Errors
    ///
    /// There is something else.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.next().is_none() { Ok(()) } else { Err(Malformed) }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_there = self.next() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.takes(byte) { Ok(()) } else { Err(Malformed) }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.next() {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _ = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// At least one.
    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.next() {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(Malformed) }
    }

    /// Steps over a string, block by block.
    fn string(&mut self) -> Result<(), Malformed> {
        self.expect(b'"')?;
        let mut is_escaped = false;
        loop {
            let rest = self.rest();
            let mut last = [b' '; BLOCK];
            let block = match rest.first_chunk() {
                Some(block) => block,
                None if rest.is_empty() => return Err(Malformed),
                None => {
                    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                    &last
                }
            };
            let marks = Marks::of(block);
            let escaped = escaped(marks.backslashes, &mut is_escaped);
            let ends = marks.quotes & !escaped;
            // Those before the end.
            let inside = if ends == 0 { u64::MAX } else { (ends & ends.wrapping_neg()) - 1 };
            if marks.controls & inside != 0 {
                return Err(Malformed);
            }
            if escaped & inside != 0 {
                let escapes = Escapes::of(block);
                let known = escapes.letters | marks.quotes | marks.backslashes;
                if escaped & inside & !known != 0 {
                    return Err(Malformed);
                }
                self.code_points(escaped & inside & escapes.code_points)?;
            }
            if ends != 0 {
                self.at += places(ends).next().unwrap_or_default() + 1;
                return Ok(());
            }
            self.at += BLOCK;
        }
    }

    /// Whether four hexadecimal digits follow each of these places of the block that begins here.
    fn code_points(&self, at: u64) -> Result<(), Malformed> {
        let are_digits = |at: usize| {
            let digits = self.rest().get(at + 1..at + 5);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        if places(at).all(are_digits) { Ok(()) } else { Err(Malformed) }
    }
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// So many bytes are looked at together: one for each bit of a word.
const BLOCK: usize = 64;

/// What stands in a block that has a meaning in strings, a bit for each byte, the first one the lowest.
struct Marks {
    quotes: u64,
    backslashes: u64,
    /// Must not stand in a string.
    controls: u64,
}

impl Marks {
    fn of(block: &[u8; BLOCK]) -> Self {
        Self {
            quotes: matching(block, |bytes| bytes.simd_eq(u8x16::splat(b'"'))),
            backslashes: matching(block, |bytes| bytes.simd_eq(u8x16::splat(b'\\'))),
            controls: matching(block, |bytes| bytes.min(u8x16::splat(0x1f)).simd_eq(bytes)),
        }
    }
}

/// What may stand behind a backslash, besides another one and a quote.
struct Escapes {
    /// `/`, `b`, `f`, `n`, `r`, `t` and `u`.
    letters: u64,
    /// `u`.
    code_points: u64,
}

impl Escapes {
    fn of(block: &[u8; BLOCK]) -> Self {
        let is = |bytes: u8x16, byte| bytes.simd_eq(u8x16::splat(byte));
        Self {
            letters: matching(block, |bytes| {
                let b_or_f = is(bytes | u8x16::splat(b'b' ^ b'f'), b'f');
                let t_or_u = is(bytes | u8x16::splat(b't' ^ b'u'), b'u');
                b_or_f | t_or_u | is(bytes, b'n') | is(bytes, b'r') | is(bytes, b'/')
            }),
            code_points: matching(block, |bytes| is(bytes, b'u')),
        }
    }
}

/// The bytes of a block for which all bits are set in what this gives.
fn matching(block: &[u8; BLOCK], of: impl Fn(u8x16) -> u8x16) -> u64 {
    let parts = block.as_chunks::<16>().0;
    parts.iter().rev().fold(0, |marks, part| marks << 16 | u64::from(of(u8x16::new(*part)).to_bitmask()))
}

/// Which bytes of a block are escaped, by where its backslashes stand and whether its first byte is. Tells the latter
/// of the next block.
fn escaped(backslashes: u64, is_first_escaped: &mut bool) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let first = u64::from(*is_first_escaped);
    let backslashes = backslashes & !first;
    let behind_one = backslashes << 1 | first;
    // In a run of backslashes every second one escapes. The sum carries away the runs that begin at an odd place, where
    // the even places are escaped, and leaves the others, where the odd ones are.
    let odd_starts = backslashes & !EVEN & !behind_one;
    let (even_runs, has_open_run) = odd_starts.overflowing_add(backslashes);
    *is_first_escaped = has_open_run;
    (EVEN ^ (even_runs << 1)) & behind_one
}

/// The places of the bits that are set.
fn places(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = usize::try_from(bits.trailing_zeros()).ok().filter(|place| *place < BLOCK)?;
        bits &= bits - 1;
        Some(place)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn skimmed(text: &str) -> Result<&str, Malformed> {
        let mut json = Skim::new(text);
        let value = json.value()?;
        json.end()?;
        Ok(value)
    }

    fn parsed(text: &str) -> Option<&str> {
        serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get)
    }

    #[test]
    fn objects_and_lists_are_stepped_through() {
        let mut json = Skim::new(" { \"a\" : [ 1 , {\"b\":[]} ] ,\"c\":null}\n");
        let mut fields = json.open(b'{').unwrap();
        assert!(json.has_next(&mut fields).unwrap());
        assert_eq!(json.key(), Ok("\"a\""));
        assert!(json.is_at_list());
        let mut items = json.open(b'[').unwrap();
        assert!(json.has_next(&mut items).unwrap());
        assert_eq!(json.value(), Ok("1"));
        assert!(json.has_next(&mut items).unwrap());
        assert_eq!(json.value(), Ok("{\"b\":[]}"));
        assert!(!json.has_next(&mut items).unwrap());
        assert!(json.has_next(&mut fields).unwrap());
        assert_eq!((json.key(), json.value()), (Ok("\"c\""), Ok("null")));
        assert!(!json.has_next(&mut fields).unwrap());
        assert_eq!(json.end(), Ok(()));
    }

    #[test]
    fn a_backslash_at_the_end_of_a_block_escapes_the_first_byte_of_the_next() {
        for before in 50..80 {
            for backslashes in 0..5 {
                let text = format!("\"{}{}\"", "x".repeat(before), "\\".repeat(backslashes));
                assert_eq!(skimmed(&text).ok(), parsed(&text), "{before} {backslashes}");
                let text = format!("[{text} and\"]");
                assert_eq!(skimmed(&text).ok(), parsed(&text), "{before} {backslashes}");
            }
        }
    }

    #[test]
    fn a_value_may_be_deeper_than_a_stack() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(skimmed(&deep), Ok(&*deep));
        assert_eq!(skimmed(deep.trim_end_matches(']')), Err(Malformed));
    }

    /// What JSON is made of, and what it is not.
    fn token() -> impl Strategy<Value = String> {
        let plain = prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\\", "\\\\", "\\\"", "\\n", "\\u00e9", "\\u00g9",
            "\\u12", "\\x", "\\j", "\\/", "0", "-", "1", "12", ".5", "e", "E+", "+", "true", "false", "null", "nul",
            " ", "\n", "\t", "\u{1}", "\u{1f}", "é", "你", "\u{7f}",
        ]);
        prop_oneof![8 => plain.prop_map(str::to_owned), 1 => (1..70_usize).prop_map(|count| "x".repeat(count))]
    }

    /// JSON that may be broken in one place.
    fn document() -> impl Strategy<Value = String> {
        let text = prop::collection::vec(token(), 0..12).prop_map(|tokens| {
            let text: String = tokens.concat();
            serde_json::Value::from(text).to_string()
        });
        let number = any::<f64>().prop_map(|number| serde_json::Value::from(number).to_string());
        let leaf =
            prop_oneof![text, number, Just("true".to_owned()), Just("null".to_owned()), Just("-0.10E-7".to_owned())];
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , ")));
            let object = prop::collection::vec(inner, 0..4).prop_map(|items| {
                let fields: Vec<String> = items.into_iter().map(|item| format!("\"k\\n\" :{item}")).collect();
                format!("{{{}}}", fields.join(","))
            });
            prop_oneof![list, object]
        });
        (value, any::<prop::sample::Index>(), prop::option::of(token())).prop_map(|(mut value, at, broken)| {
            if let Some(token) = broken {
                let at = value.char_indices().nth(at.index(value.chars().count())).map_or(0, |(at, _)| at);
                value.insert_str(at, &token);
            }
            value
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn takes_what_serde_json_takes(tokens in prop::collection::vec(token(), 0..10)) {
            let text = tokens.concat();
            prop_assert_eq!(skimmed(&text).ok(), parsed(&text));
            let text = format!("\"{text}\"");
            prop_assert_eq!(skimmed(&text).ok(), parsed(&text));
        }

        #[test]
        fn takes_documents_that_are_whole_and_no_others(text in document()) {
            prop_assert_eq!(skimmed(&text).ok(), parsed(&text));
        }
    }
}
