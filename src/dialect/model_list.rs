//! Reads the lists of models that providers give out.
//!
//! Source: the API references of OpenAI and Anthropic ("List models": `data[].id`), Google
//! ("models.list": `models[].name`, each behind `models/`), Cohere ("List models": `models[].name`)
//! and Cloudflare ("Search models": `result[].name`). Some servers answer with the bare list.

use serde_json::Value;

use crate::canon::Failure;

use super::json::unreadable;

/// The names in a list of models, in its order.
///
/// # Errors
///
/// It is no such list.
pub fn read_model_list(document: &[u8]) -> Result<Vec<String>, Failure> {
    let document: Value = serde_json::from_slice(document).unwrap_or_default();
    let entries = ["data", "models", "result"].iter().find_map(|key| document.get(key)?.as_array());
    let Some(entries) = entries.or(document.as_array()) else {
        return Err(unreadable("the upstream's list of models is none; name the models under `model`"));
    };
    // Cloudflare has an id of its own beside the name that requests use.
    let key = if document.get("result").is_some() { "name" } else { "id" };
    let name = |entry: &Value| {
        let name = entry.get(key).or_else(|| entry.get("name"))?.as_str()?;
        Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
    };
    Ok(entries.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_s_list_gives_the_names_that_requests_use() {
        for list in [
            r#"{"object":"list","data":[{"id":"a","object":"model"},{"id":"b"}]}"#,
            r#"{"data":[{"type":"model","id":"a","display_name":"A"},{"id":"b"}],"has_more":false}"#,
            r#"{"models":[{"name":"models/a","version":"1"},{"name":"models/b"}]}"#,
            r#"{"models":[{"name":"a","endpoints":["chat"]},{"name":"b"}],"next_page_token":null}"#,
            r#"{"success":true,"result":[{"id":"0f","name":"a"},{"id":"1f","name":"b"}]}"#,
            r#"[{"id":"a"},{"id":"b"}]"#,
        ] {
            assert_eq!(read_model_list(list.as_bytes()).unwrap(), ["a", "b"], "{list}");
        }
        for other in ["", "<html>", r#"{"error":{"message":"no"}}"#, r#"{"data":{}}"#] {
            assert!(read_model_list(other.as_bytes()).is_err(), "{other}");
        }
    }
}
