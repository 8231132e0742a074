//! Writes images, sounds and documents: their bytes, or where Google finds them.

use serde::Serialize;
use url::Url;

use crate::canon::{Content, Failure, Source};
use crate::dialect::json::untranslatable;

use super::Host;

/// Where the Gemini API keeps files.
const FILES: &str = "https://generativelanguage.googleapis.com/v1beta/";

/// `inlineData`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'r> {
    mime_type: &'r str,
    data: &'r str,
}

/// `fileData`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'r str>,
    file_uri: String,
}

/// Either of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Media<'r> {
    InlineData(Blob<'r>),
    FileData(FileData<'r>),
}

impl Media<'_> {
    /// Whether a function's response may hold it; Google's guide "Function calling" lists the types.
    pub(super) fn fits_a_result(&self) -> bool {
        const TYPES: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"];
        matches!(self, Self::InlineData(blob) if TYPES.contains(&blob.mime_type))
    }
}

/// Whether Google takes this address as it is; the bytes behind others have to be sent. These are
/// files of the Gemini API, objects in Cloud Storage, and videos on YouTube.
pub fn takes_url(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match (url.scheme(), url.host_str()) {
        ("gs", _) => true,
        ("http" | "https", Some("generativelanguage.googleapis.com")) => url.path().contains("/files/"),
        ("http" | "https", Some("youtu.be" | "youtube.com")) => true,
        ("http" | "https", Some(host)) => host.ends_with(".youtube.com"),
        _ => false,
    }
}

/// An image, a sound or a document; nothing for other content.
pub(super) fn media<'r>(content: &'r Content<'_>, host: Host) -> Result<Option<Media<'r>>, Failure> {
    let (source, kind) = match content {
        Content::Image { source, .. } => (source, "image/jpeg"),
        Content::Audio { source } => (source, "audio/mpeg"),
        Content::File { source, .. } => (source, "application/pdf"),
        _ => return Ok(None),
    };
    let at = |uri: String| {
        let known = media_type_of(&uri);
        // The Gemini API knows the types of its files, and Vertex AI demands one.
        let mime_type = known.or((host == Host::Vertex).then_some(kind));
        Media::FileData(FileData { mime_type, file_uri: uri })
    };
    Ok(Some(match source {
        Source::Base64 { media_type, data } => Media::InlineData(Blob { mime_type: accepted_type(media_type), data }),
        Source::Url(url) => at(url.clone().into_owned()),
        Source::FileId(id) if id.contains("://") => at(id.clone().into_owned()),
        Source::FileId(id) if id.starts_with("files/") && host != Host::Vertex => at(format!("{FILES}{id}")),
        Source::FileId(_) => {
            return Err(untranslatable("this channel has none of your files; send the file itself in \"file_data\""));
        }
    }))
}

/// Text of any kind is taken as plain text only.
fn accepted_type(media_type: &str) -> &str {
    match media_type {
        "application/json" | "application/xml" | "application/yaml" | "application/x-yaml" => "text/plain",
        other => other,
    }
}

/// The type that the end of an address tells.
fn media_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    if url.contains("youtu") && takes_url(url) {
        return Some("video/mp4");
    }
    let extension = path.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" | "md" | "json" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "aac" => "audio/aac",
        "aiff" => "audio/aiff",
        "m4a" => "audio/mp4",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mpeg" | "mpg" => "video/mpeg",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn google_takes_its_own_addresses_only() {
        for url in [
            "gs://bucket/cat.png",
            "https://generativelanguage.googleapis.com/v1beta/files/abc-123",
            "https://www.youtube.com/watch?v=x",
            "https://m.youtube.com/watch?v=x",
            "https://youtu.be/x",
        ] {
            assert!(takes_url(url), "{url}");
        }
        for url in [
            "https://example.com/cat.png",
            "https://notyoutube.com/watch",
            "https://youtube.com.example.com/watch",
            "https://example.com/?u=https://youtu.be/x",
            "ftp://youtu.be/x",
            "not an address",
        ] {
            assert!(!takes_url(url), "{url}");
        }
    }

    fn written(source: Source<'_>, host: Host) -> serde_json::Value {
        let content = Content::File { source, name: None };
        serde_json::to_value(media(&content, host).unwrap()).unwrap()
    }

    #[test]
    fn bytes_and_addresses_are_written_with_their_type() {
        let bytes = Source::Base64 { media_type: "application/json".into(), data: "e30=".into() };
        assert_eq!(written(bytes, Host::AiStudio), json!({"inlineData": {"mimeType": "text/plain", "data": "e30="}}));
        assert_eq!(
            written(Source::Url("gs://bucket/a.wav?x=1".into()), Host::Vertex),
            json!({"fileData": {"mimeType": "audio/wav", "fileUri": "gs://bucket/a.wav?x=1"}})
        );
        assert_eq!(
            written(Source::Url("https://youtu.be/abc".into()), Host::AiStudio),
            json!({"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/abc"}})
        );
        assert_eq!(
            written(Source::Url("gs://bucket/untold".into()), Host::Vertex),
            json!({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/untold"}})
        );
    }

    #[test]
    fn a_file_of_the_gemini_api_is_named_by_its_address() {
        let file = || Source::FileId("files/abc".into());
        assert_eq!(
            written(file(), Host::AiStudio),
            json!({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}})
        );
        let content = Content::File { source: file(), name: None };
        assert!(media(&content, Host::Vertex).is_err());
        let content = Content::File { source: Source::FileId("file-OpenAI".into()), name: None };
        assert!(media(&content, Host::AiStudio).is_err());
    }
}
