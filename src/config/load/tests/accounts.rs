//! Accounts in place of an address: Google's and Cloudflare's.

use super::*;

const PEM: &str = include_str!("../../../../tests/fixtures/service-account-key.pem");

/// A Vertex provider with `more` lines, of which a later one replaces an earlier of the same key.
fn vertex(more: &str) -> Loaded {
    let key = format!("private_key: {PEM:?}");
    let mut lines = vec!["provider: v", "project_id: p-1", "client_email: a@p-1.example", "model: [m]", &key];
    let key_of = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    for line in more.lines() {
        lines.retain(|before| key_of(before) != key_of(line));
        lines.push(line);
    }
    with_provider(&lines.join("\n"))
}

fn of_vertex(loaded: &Loaded) -> (&Channel, &Vertex) {
    let channel = loaded.config().channels.get(1).unwrap_or_else(|| panic!("{}", loaded.all()));
    (channel, channel.vertex.as_deref().unwrap())
}

#[test]
fn a_service_account_is_all_that_vertex_needs() {
    let loaded = vertex("");
    assert_eq!(loaded.lines(), [""; 0]);
    let (channel, vertex) = of_vertex(&loaded);
    assert_eq!((channel.dialect, channel.base_url.as_str()), (Dialect::Vertex, "https://aiplatform.googleapis.com/"));
    assert!(channel.keys.is_empty() && vertex.regions.is_empty());
    assert_eq!((vertex.account.project_id.as_str(), vertex.account.client_email.as_str()), ("p-1", "a@p-1.example"));
    assert_eq!(vertex.account.token_uri.as_str(), "https://oauth2.googleapis.com/token");
}

#[test]
fn a_private_key_may_have_its_line_breaks_in_any_form() {
    let single_quoted = format!("private_key: '{}'", PEM.replace('\n', "\\n"));
    let block = format!("private_key: |\n  {}", PEM.trim_end().replace('\n', "\n  "));
    assert_eq!(vertex(&single_quoted).lines(), [""; 0]);
    let whole = format!("provider: v\nproject_id: p-1\nclient_email: a@p-1.example\nmodel: [m]\n{block}");
    assert_eq!(with_provider(&whole).lines(), [""; 0]);
}

#[test]
fn an_address_of_vertex_is_kept_and_may_name_the_region() {
    for (more, base_url, regions) in [
        ("base_url: https://gw.example/v1/A/G/google-vertex-ai", "https://gw.example/v1/A/G/google-vertex-ai", vec![]),
        (
            "base_url: https://us-east5-aiplatform.googleapis.com",
            "https://us-east5-aiplatform.googleapis.com/",
            vec!["us-east5"],
        ),
        (
            "base_url: https://us-east5-aiplatform.googleapis.com\nregion: global",
            "https://us-east5-aiplatform.googleapis.com/",
            vec!["global"],
        ),
    ] {
        let loaded = vertex(more);
        let (channel, vertex) = of_vertex(&loaded);
        let found: Vec<&str> = vertex.regions.iter().map(|region| &**region).collect();
        assert_eq!((channel.base_url.as_str(), found), (base_url, regions));
    }
}

#[test]
fn a_region_is_a_name_or_a_list() {
    for (region, expected) in
        [("global", vec!["global"]), ("[us-east5, ' Europe-West1', us-east5]", vec!["us-east5", "europe-west1"])]
    {
        let loaded = vertex(&format!("region: {region}"));
        let found: Vec<&str> = of_vertex(&loaded).1.regions.iter().map(|region| &**region).collect();
        assert_eq!(found, expected);
    }
    for region in ["us/../x", "evil.example/", "'a b'", "{a: b}", "[[x, {y: z}]]", "-a", "a-", "7"] {
        vertex(&format!("region: {region}"))
            .says("expected a region such as us-central1, or global, or a list of them");
    }
}

#[test]
fn a_mistake_in_an_account_says_what_to_do() {
    for (more, message) in [
        ("private_key: xxxxx", "error: providers[1].private_key: expected the whole private_key of the service"),
        ("private_key: [a]", "error: providers[1].private_key: expected a text, found a list"),
        ("private_key:", "error: providers[1].private_key: missing"),
        ("project_id:", "error: providers[1].project_id: missing"),
        ("project_id: ..", "error: providers[1].project_id: expected the id of a Google Cloud project"),
        ("project_id: a/b", "error: providers[1].project_id: expected the id of a Google Cloud project"),
        ("client_email:", "error: providers[1].client_email: missing"),
        ("client_email: me", "error: providers[1].client_email: expected the service account's address"),
        ("client_email: ''", "error: providers[1].client_email: is empty"),
        ("client_email: ${WHO}", "because the environment variable WHO is not set"),
        ("model:", "error: providers[1].model: missing; Vertex AI has no list to ask for"),
        ("token_uri: ftp://h", "error: providers[1].token_uri: expected a full address such as https://oauth2"),
        ("api: sk-CANARY", "warning: providers[1].api: not used"),
    ] {
        let loaded = vertex(more);
        loaded.says(message);
        assert!(!loaded.all().contains("CANARY"));
        assert_eq!(names(&loaded).len(), 1 + usize::from(message.starts_with("warning")), "{more}");
    }
}

#[test]
fn half_an_account_without_an_address_is_still_an_account() {
    with_provider("provider: v\nproject_id: p\nmodel: [m]").says("providers[1].private_key: missing");
    let loaded = with_provider("provider: v\nproject_id: p\nmodel: [m]\nbase_url: http://h/v1");
    assert_eq!(loaded.config().channels[1].dialect, Dialect::Gpt);
}

#[test]
fn nothing_of_a_private_key_is_ever_repeated() {
    for key in ["CANARY", "-----BEGIN PRIVATE KEY-----\\nCANARY\\n-----END PRIVATE KEY-----", "[CANARY]"] {
        let loaded = vertex(&format!("private_key: {key}\nclient_email: CANARY\nproject_id: CANARY/\nregion: CANARY/"));
        assert!(loaded.diagnostics.len() >= 4 && !loaded.all().contains("CANARY"), "{}", loaded.all());
    }
}

#[test]
fn an_account_is_all_that_cloudflare_needs() {
    for (lines, base_url) in [
        ("cf_account_id: acc", "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1"),
        ("cf_account_id: acc\nbase_url: http://h:1/front/", "http://h:1/front/client/v4/accounts/acc/ai/v1"),
        (
            "cf_account_id: acc\nbase_url: https://api.cloudflare.com/client/v4/accounts/other/ai/run/@cf/m",
            "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1",
        ),
        (
            "base_url: https://api.cloudflare.com/client/v4/accounts/acc/ai/run",
            "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1",
        ),
    ] {
        let loaded = with_provider(&format!("provider: c\napi: k\nmodel: [m]\n{lines}"));
        assert_eq!(loaded.lines(), [""; 0]);
        let channel = &loaded.config().channels[1];
        assert_eq!((channel.dialect, channel.base_url.as_str()), (Dialect::Cloudflare, base_url));
    }
}

#[test]
fn an_account_that_is_no_part_of_a_path_is_refused() {
    for (lines, message) in [
        ("engine: cloudflare", "error: providers[1].cf_account_id: missing"),
        ("cf_account_id: ../x", "error: providers[1].cf_account_id: expected the id of a Cloudflare account"),
        ("cf_account_id: ' '", "error: providers[1].cf_account_id: is empty"),
        ("cf_account_id: [a]", "error: providers[1].cf_account_id: expected a text, found a list"),
    ] {
        let loaded = with_provider(&format!("provider: c\nmodel: [m]\n{lines}"));
        loaded.says(message);
        assert_eq!(names(&loaded), ["good"]);
    }
}
