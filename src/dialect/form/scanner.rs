//! Reading a form as it comes in.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::{self, Finder};

use crate::canon::Failure;

use super::blocks::Blocks;
use super::part_header::{Described, read_header};
use super::{Form, Part, fields, wrong};

/// A form has at most so many parts.
const MAX_PARTS: usize = 1000;
/// The header of a part is at most so long, in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// As much may stand before the first boundary, and as much behind the last, in bytes.
const MAX_OUTSIDE_BYTES: usize = 4 * 1024;
/// As much is looked at in one go, in bytes; so the inbox stays small, however large the pieces are.
const MAX_PIECE_BYTES: usize = 64 * 1024;

const LINE_END: &[u8] = b"\r\n";
const HEADER_END: &[u8] = b"\r\n\r\n";

/// Takes a form in pieces, however the network cut them, and refuses it as soon as it is known to be
/// wrong. What it costs grows with the length of the form alone, whatever is in it.
pub struct Scanner {
    /// What stands between two parts: a line end, two dashes, the boundary.
    delimiter: Finder<'static>,
    state: State,
    /// What came in and is not understood yet.
    inbox: BytesMut,
    /// How much of the inbox has been searched in vain for what the state is waiting for, in bytes.
    searched: usize,
    contents: Blocks,
    form: Form,
}

/// What the inbox begins with.
enum State {
    /// What is before the first delimiter.
    Preamble,
    /// What is right behind a delimiter.
    Delimited,
    /// The rest of the delimiter's line.
    Padding,
    /// The end of the delimiter's line, and the header of a part behind it.
    Header,
    /// A part's content, or what is left of it.
    Content(Described, Bytes),
    /// What is behind the last delimiter, of which so many bytes have come.
    Epilogue(usize),
}

impl Scanner {
    /// A scanner of a form with this boundary, which [`boundary_of`](super::boundary_of) gives.
    pub fn new(boundary: &str) -> Self {
        Self {
            delimiter: Finder::new(&[LINE_END, b"--", boundary.as_bytes()].concat()).into_owned(),
            state: State::Preamble,
            // The first delimiter may be the first line, which has no line end before it.
            inbox: BytesMut::from(LINE_END),
            searched: 0,
            contents: Blocks::default(),
            form: Form::default(),
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// The form is malformed, or has more of anything than forms have. Nothing more can be pushed then.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        for piece in piece.chunks(MAX_PIECE_BYTES) {
            self.inbox.extend_from_slice(piece);
            while self.step()? {}
        }
        Ok(())
    }

    /// The form, when all of it has come in.
    ///
    /// # Errors
    ///
    /// There must be more.
    pub fn finish(self) -> Result<Form, Failure> {
        match self.state {
            State::Epilogue(_) => Ok(self.form),
            State::Preamble => Err(no_form()),
            _ => Err(wrong("the form ended before its last boundary; send all of it")),
        }
    }

    /// Understands what the inbox begins with; says whether it is worth trying again.
    fn step(&mut self) -> Result<bool, Failure> {
        match &self.state {
            State::Preamble => self.preamble(),
            State::Delimited => self.delimited(),
            State::Padding => self.padding(),
            State::Header => self.header(),
            State::Content(..) => self.content(),
            State::Epilogue(before) => {
                let length = before + self.inbox.len();
                self.inbox.clear();
                if length > MAX_OUTSIDE_BYTES {
                    return Err(wrong("something follows the last boundary of the form; end the body there"));
                }
                self.state = State::Epilogue(length);
                Ok(false)
            }
        }
    }

    fn preamble(&mut self) -> Result<bool, Failure> {
        let found = self.find_delimiter();
        let length = found.unwrap_or((self.inbox.len() + 1).saturating_sub(self.delimiter_length()));
        if length > MAX_OUTSIDE_BYTES {
            return Err(no_form());
        }
        if found.is_some() {
            self.take(length + self.delimiter_length());
            self.state = State::Delimited;
        }
        Ok(found.is_some())
    }

    fn delimited(&mut self) -> Result<bool, Failure> {
        if self.inbox.len() < 2 {
            return Ok(false);
        }
        self.state = if self.inbox.starts_with(b"--") { State::Epilogue(0) } else { State::Padding };
        Ok(true)
    }

    fn padding(&mut self) -> Result<bool, Failure> {
        let blanks = self.inbox.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.take(blanks);
        match self.inbox.get(..2) {
            None => return Ok(false),
            Some(LINE_END) if self.form.parts.len() < MAX_PARTS => self.state = State::Header,
            Some(LINE_END) => {
                return Err(wrong(format!("the form has more than {MAX_PARTS} parts; send fewer")));
            }
            Some(_) => {
                let message = "a boundary of the form is not alone in its line; choose one that no content has";
                return Err(wrong(message));
            }
        }
        Ok(true)
    }

    fn header(&mut self) -> Result<bool, Failure> {
        let found = find(&self.inbox, self.searched, HEADER_END.len(), |text| memmem::find(text, HEADER_END));
        self.searched = self.inbox.len();
        let length = found.unwrap_or((self.inbox.len() + 1).saturating_sub(HEADER_END.len()));
        if length > MAX_HEADER_BYTES {
            let message =
                format!("the header of a part of the form is longer than {MAX_HEADER_BYTES} bytes; shorten it");
            return Err(wrong(message));
        }
        if found.is_some() {
            let header = self.inbox.get(LINE_END.len()..LINE_END.len() + length).unwrap_or_default();
            let described = read_header(header)?;
            fields::admit(&self.form, &described.name, described.is_file)?;
            // A copy, as a part of the inbox would keep all of it.
            let header = Bytes::copy_from_slice(header);
            self.take(length + HEADER_END.len());
            self.state = State::Content(described, header);
        }
        Ok(found.is_some())
    }

    fn content(&mut self) -> Result<bool, Failure> {
        let found = self.find_delimiter();
        // The end of the inbox may be the beginning of a delimiter.
        let length = found.unwrap_or((self.inbox.len() + 1).saturating_sub(self.delimiter_length()));
        self.contents.extend(self.inbox.get(..length).unwrap_or_default());
        self.take(length + found.map_or(0, |_| self.delimiter_length()));
        let State::Content(described, header) = &mut self.state else { return Ok(false) };
        fields::check_length(&described.name, self.contents.len())?;
        if found.is_some() {
            let (name, header) = (std::mem::take(&mut described.name), std::mem::take(header));
            let part = Part { name, is_file: described.is_file, header, content: self.contents.take() };
            fields::check(&part)?;
            self.form.parts.push(part);
            self.state = State::Delimited;
        }
        Ok(found.is_some())
    }

    fn find_delimiter(&mut self) -> Option<usize> {
        let found = find(&self.inbox, self.searched, self.delimiter_length(), |text| self.delimiter.find(text));
        self.searched = self.inbox.len();
        found
    }

    fn delimiter_length(&self) -> usize {
        self.delimiter.needle().len()
    }

    /// Takes so many bytes off the inbox.
    fn take(&mut self, length: usize) {
        self.inbox.advance(length.min(self.inbox.len()));
        self.searched = 0;
    }
}

/// Where the first needle of this length begins, if the bytes before `searched` have none.
fn find(text: &[u8], searched: usize, length: usize, find: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let from = (searched + 1).saturating_sub(length);
    text.get(from..).and_then(find).map(|at| from + at)
}

fn no_form() -> Failure {
    wrong("the body does not begin with the boundary that its Content-Type announces; leave both to your HTTP library")
}
