//! A request for images and its answer, richer than any one wire format.

use super::chat::{Json, Source, Text};
use super::usage::Usage;

/// What a client asks of a model that makes images. The model's own name is not in here: each channel
/// has another.
#[derive(Clone, Debug)]
pub struct ImageRequest<'a> {
    /// What the images are to show.
    pub prompt: Text<'a>,
    /// How many images; at least one.
    pub count: u64,
    /// Their width and height; the model's choice when absent.
    pub size: Option<Dimensions>,
    /// Such as `png` or `jpeg`; the model's choice when absent.
    pub output_format: Option<Text<'a>>,
    /// The background has to be transparent.
    pub transparent: bool,
    /// What to work from.
    pub images: Vec<Source<'a>>,
    /// There is a mask that says where to work.
    pub has_mask: bool,
    /// Fields that the hub has no name for, in their order; a dialect sends on the ones that its
    /// format knows.
    pub extra: Vec<(Text<'a>, Json<'a>)>,
}

impl<'a> ImageRequest<'a> {
    /// One image of this.
    pub fn of(prompt: Text<'a>) -> Self {
        Self {
            prompt,
            count: 1,
            size: None,
            output_format: None,
            transparent: false,
            images: Vec::new(),
            has_mask: false,
            extra: Vec::new(),
        }
    }

    /// The field of this name among the ones that the hub has no name for.
    pub fn extra(&self, name: &str) -> Option<&Json<'a>> {
        self.extra.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Width and height, neither of them zero: in pixels, or as a ratio where they are small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after what they are")]
pub struct Dimensions {
    pub width: u32,
    pub height: u32,
}

/// The images that a model made; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images<'a> {
    /// Each of them.
    pub images: Vec<Image<'a>>,
    /// What they cost, where the provider counts tokens.
    pub usage: Option<ImageUsage>,
}

/// An image that a model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Such as `image/png`.
    pub media_type: Text<'a>,
    /// The bytes in standard base64.
    pub data: Text<'a>,
    /// The prompt as the provider rewrote it.
    pub revised_prompt: Option<Text<'a>>,
}

/// Token counts of images: those of a text, and which of them are of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageUsage {
    /// All tokens.
    pub usage: Usage,
    /// Of the request's tokens, those of images.
    pub prompt_image_tokens: Option<i64>,
    /// Of the answer's tokens, those of images.
    pub completion_image_tokens: Option<i64>,
}
