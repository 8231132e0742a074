//! OpenAI images, the format of every client that asks for images.
//!
//! Source: OpenAI's API reference, "Create image", "Create image edit" (its form and its JSON body), "Image
//! generation streaming events". `quality`, `style`, `moderation`, `partial_images` and
//! `output_compression` have no counterpart at other providers; they are read by nobody.
//!
//! Where the client wants an address (`response_format: "url"`) and the provider gives bytes, the
//! address is a `data:` URI, which browsers and most libraries open like any other.

mod answer;
mod request;

pub use answer::{AnswerForm, write_answer};
pub use request::{read_form, read_request};
