//! A request whose body is a form: what the gateway has to know of it.

use std::sync::Arc;

use crate::canon::{Failure, Operation};
use crate::dialect::form::{Form, content_type};
use crate::dialect::json::invalid;

use super::json::no_model;
use super::{Payload, Said};

/// A form, and the boundary with which it is sent on.
pub(super) struct FormBody {
    form: Form,
    boundary: String,
}

impl FormBody {
    /// Reads the form of a request for this operation.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a form that lacks a required field or file.
    pub fn parse(form: Form, operation: Operation, boundary: String) -> Result<Said<Self>, Failure> {
        let row = operation.row();
        if let Some(missing) = row.files.iter().find(|name| !form.has_file(name)) {
            let message = format!("the form has no file \"{missing}\"; send one, with a file name");
            return Err(invalid(message).at(missing));
        }
        let is_there = |name: &str| row.files.contains(&name) || form.text(name).is_some_and(|text| !text.is_empty());
        if let Some(missing) = row.required.iter().find(|name| !is_there(name)) {
            return Err(invalid(format!("the form has no {missing}; add \"{missing}\"")).at(missing));
        }
        let model: Arc<str> = match (form.text("model"), row.default_model) {
            (Some(model), _) => model.into(),
            (None, Some(default)) => default.into(),
            (None, None) => return Err(no_model().at("model")),
        };
        let choices = form.text("n").and_then(|choices| choices.parse().ok()).unwrap_or(1);
        let stream = form.stream();
        Ok(Said { body: Self { form, boundary }, model, stream, choices })
    }

    /// The form as the client sent it.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// The form with this model.
    pub fn with_model(&self, model: &str) -> Payload {
        Payload {
            segments: self.form.write(&self.boundary, ("model", model)),
            content_type: Some(content_type(&self.boundary)),
        }
    }

    /// The text of a field.
    pub fn words(&self, field: &str) -> Option<String> {
        self.form.text(field).map(String::from)
    }

    /// How many characters these fields have.
    pub fn chars(&self, fields: &[&str]) -> usize {
        fields.iter().filter_map(|field| self.form.text(field)).map(|text| text.chars().count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::form::form_of;

    use super::*;

    fn parse(fields: &[(&str, &str)], operation: Operation) -> Result<Said<FormBody>, Failure> {
        FormBody::parse(form_of(fields), operation, "fresh".to_owned())
    }

    #[test]
    fn what_a_form_says_is_read() {
        let fields = [("image!", "x"), ("prompt", "a hät"), ("n", "2"), ("model", "m"), ("stream", "true")];
        let said = parse(&fields, Operation::ImageEdits).unwrap();
        assert_eq!((said.model.as_ref(), said.stream, said.choices), ("m", true, 2));
        assert_eq!(said.body.words("prompt").as_deref(), Some("a hät"));
        assert_eq!(said.body.chars(&["prompt", "n", "nothing"]), 6);
        let sent = said.body.with_model("upstream");
        assert_eq!(sent.content_type.as_deref(), Some("multipart/form-data; boundary=fresh"));
        assert!(sent.segments.concat().starts_with(b"--fresh\r\n"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |fields: &[_], operation| parse(fields, operation).err().unwrap().param.unwrap();
        assert_eq!(missing(&[("model", "m")], Operation::Transcriptions), "file");
        assert_eq!(missing(&[("model", "m"), ("file", "text")], Operation::Transcriptions), "file");
        assert_eq!(missing(&[("file!", "x")], Operation::Translations), "model");
        assert_eq!(missing(&[("image!", "x"), ("prompt", "")], Operation::ImageEdits), "prompt");
        assert_eq!(parse(&[("image!", "x")], Operation::ImageVariations).unwrap().model.as_ref(), "dall-e-2");
    }
}
