//! Where Google Vertex AI has a model, region by region.
//!
//! Source: Google's Vertex AI reference, "projects.locations.publishers.models", its "Deployments
//! and endpoints" for the host names, and Anthropic's "Claude on Vertex AI".

use ::url::Url;

use crate::canon::Operation;
use crate::config::{Channel, Secret};
use crate::dialect::gemini::embeddings::Method;
use crate::dialect::{Format, Translation, Wire, anthropic, gemini};

use super::route::{Auth, Route};
use super::target::{InvalidTarget, Target};

/// The path that every address has in front of its project, unless `base_url` names another version.
const VERSION: &str = "v1";
const GOOGLE: &str = "aiplatform.googleapis.com";

/// A model in a region of a project.
pub struct Placement<'a> {
    /// The project that is charged.
    pub project: &'a str,
    /// The region; a label of a host name.
    pub region: &'a str,
    /// The model's name there.
    pub model: &'a str,
}

/// Where to ask for an answer of a model of this channel, with an access token. Google's own host in
/// its address is replaced by that of the region; any other stays, as does the path, for it is that of
/// a gateway in front.
///
/// # Errors
///
/// The URL or the token cannot be put on the wire, or there is no such operation.
pub fn vertex_target(
    channel: &Channel,
    placement: &Placement<'_>,
    (operation, stream): (Operation, bool),
    token: &Secret,
) -> Result<Target, InvalidTarget> {
    let route = route(&channel.base_url, placement, (operation, stream));
    Target::on(route.ok_or(InvalidTarget::Unsupported(operation.row().name))?, Some(token), channel)
}

fn route(base: &Url, placement: &Placement<'_>, (operation, stream): (Operation, bool)) -> Option<Route> {
    let Placement { project, region, model } = placement;
    let (publisher, verb, wire) = match operation {
        Operation::Chat if model.contains("claude") => {
            let verb = if stream { "streamRawPredict" } else { "rawPredict" };
            ("anthropic", verb, Wire::Chat(Format::Anthropic(anthropic::Host::Vertex)))
        }
        Operation::Chat => {
            let verb = if stream { "streamGenerateContent" } else { "generateContent" };
            ("google", verb, Wire::Chat(Format::Gemini(gemini::Host::Vertex)))
        }
        Operation::Embeddings => {
            let (method, translation) = Translation::google_embeddings(Method::on_vertex(model));
            ("google", method, Wire::Call(translation))
        }
        Operation::ImageGenerations | Operation::ImageEdits => {
            let (method, translation) = Translation::google_images(model, gemini::Host::Vertex);
            ("google", method, Wire::Call(translation))
        }
        _ => return None,
    };
    let mut url = base.clone();
    url.set_fragment(None);
    if verb == "streamGenerateContent" {
        url.query_pairs_mut().append_pair("alt", "sse");
    }
    if url.host_str().is_some_and(is_google) {
        // A region is a label of a host name, so this cannot fail.
        let _ = url.set_host(Some(&host(region)));
    }
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
        if !names_version(base) {
            path.push(VERSION);
        }
        path.extend(["projects", project, "locations", region, "publishers", publisher, "models"]);
        path.push(&format!("{model}:{verb}"));
    }
    Some(Route { url, wire, auth: Auth::AccessToken, headers: &[] })
}

fn is_google(host: &str) -> bool {
    host == GOOGLE || host.ends_with("-aiplatform.googleapis.com")
}

/// The host that serves a region; `us` and `eu` are regions of many places.
fn host(region: &str) -> String {
    match region {
        "global" => GOOGLE.to_owned(),
        "us" | "eu" => format!("aiplatform.{region}.rep.googleapis.com"),
        _ => format!("{region}-{GOOGLE}"),
    }
}

fn names_version(base: &Url) -> bool {
    let last = base.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    matches!(last, "v1" | "v1beta1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "https://aiplatform.googleapis.com/";

    fn address(base: &str, region: &str, model: &str, stream: bool) -> String {
        let placement = Placement { project: "p-1", region, model };
        let route = route(&Url::parse(base).unwrap(), &placement, (Operation::Chat, stream));
        route.unwrap().url.to_string()
    }

    #[test]
    fn each_region_has_a_host_of_its_own() {
        for (region, host) in [
            ("us-central1", "us-central1-aiplatform.googleapis.com"),
            ("global", "aiplatform.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
        ] {
            for base in [DEFAULT, "https://us-east5-aiplatform.googleapis.com"] {
                let expected = format!(
                    "https://{host}/v1/projects/p-1/locations/{region}/publishers/google/models/gemini-2.5-pro:generateContent"
                );
                assert_eq!(address(base, region, "gemini-2.5-pro", false), expected);
            }
        }
    }

    #[test]
    fn the_verb_depends_on_publisher_and_streaming() {
        let behind = |model, stream| {
            let url = address(DEFAULT, "global", model, stream);
            url.split_once("publishers/").unwrap().1.to_owned()
        };
        assert_eq!(behind("gemini-2.5-pro", true), "google/models/gemini-2.5-pro:streamGenerateContent?alt=sse");
        assert_eq!(behind("claude-opus-4@20250514", false), "anthropic/models/claude-opus-4@20250514:rawPredict");
        assert_eq!(behind("claude-opus-4@20250514", true), "anthropic/models/claude-opus-4@20250514:streamRawPredict");
    }

    #[test]
    fn the_verb_of_embeddings_depends_on_the_model() {
        for (model, method) in [
            ("text-embedding-005", Method::Predict),
            ("gemini-embedding-001", Method::Predict),
            ("gemini-embedding-2", Method::EmbedContent),
        ] {
            let placement = Placement { project: "p-1", region: "global", model };
            let route = route(&Url::parse(DEFAULT).unwrap(), &placement, (Operation::Embeddings, false)).unwrap();
            let expected = format!("/publishers/google/models/{model}:{}", method.verb());
            assert!(route.url.path().ends_with(&expected), "{}", route.url);
            assert_eq!(route.wire, Wire::Call(Translation::GoogleEmbeddings(method)));
        }
    }

    #[test]
    fn what_vertex_does_not_have_has_no_address() {
        let placement = Placement { project: "p-1", region: "global", model: "m" };
        assert!(route(&Url::parse(DEFAULT).unwrap(), &placement, (Operation::Rerank, false)).is_none());
    }

    #[test]
    fn the_address_of_a_gateway_in_front_is_kept() {
        let behind = "projects/p-1/locations/eu/publishers/google/models/m:generateContent";
        for (base, front) in [
            ("https://gw.example/v1/A/G/google-vertex-ai", "https://gw.example/v1/A/G/google-vertex-ai/v1"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/v1"),
            ("http://127.0.0.1:9000/v1beta1/", "http://127.0.0.1:9000/v1beta1"),
            ("http://127.0.0.1:9000/x/v1#f", "http://127.0.0.1:9000/x/v1"),
        ] {
            assert_eq!(address(base, "eu", "m", false), format!("{front}/{behind}"));
        }
        let streamed = address("http://127.0.0.1:9000/v1?y=z", "eu", "m", true);
        assert!(streamed.ends_with(":streamGenerateContent?y=z&alt=sse"), "{streamed}");
    }

    #[test]
    fn a_model_cannot_leave_its_place_in_the_path() {
        let url = address(DEFAULT, "global", "../../a b?c#d%2f", false);
        assert!(url.ends_with("/publishers/google/models/..%2F..%2Fa%20b%3Fc%23d%252f:generateContent"), "{url}");
    }
}
