//! Nothing is told to who has no key, and nothing of an admin's to who has another one.

use serde_json::json;
use uni_api::http::{Access, routes};

use crate::support::{Client, FakeUpstream, Gateway, KEY, Request, Setup, channel, hello};

const ADMIN: &str = "sk-admin-0123456789";
const WRONG: &str = "sk-wrong-0123456789";

/// The key only counts where it belongs.
fn without_key(method: &str, path: &str) -> Vec<Request> {
    let plain = || Request::new(method, path);
    let in_query = ["key", "api_key", "access_token", "authorization", "x-api-key"]
        .map(|name| Request::new(method, &format!("{path}?{name}={ADMIN}")));
    // `ADMIN` as user, as password, and as both.
    let basic = [
        "c2stYWRtaW4tMDEyMzQ1Njc4OTo=",
        "OnNrLWFkbWluLTAxMjM0NTY3ODk=",
        "c2stYWRtaW4tMDEyMzQ1Njc4OTpzay1hZG1pbi0wMTIzNDU2Nzg5",
    ]
    .map(|login| plain().header("authorization", &format!("Basic {login}")));
    let mut all = vec![
        plain(),
        plain().key(""),
        plain().key(WRONG),
        plain().key(&ADMIN[..ADMIN.len() - 1]),
        plain().key(&format!("{ADMIN}0")),
        plain().key(&ADMIN.to_uppercase()),
        plain().header("x-api-key", ""),
        plain().header("x-api-key", WRONG),
        plain().header("authorization", ADMIN),
        plain().header("authorization", &format!("Bearer {WRONG}")).header("x-api-key", ADMIN),
        plain().header("cookie", &format!("authorization={ADMIN}; api_key={ADMIN}; key={ADMIN}")),
        plain().header("proxy-authorization", &format!("Bearer {ADMIN}")),
        plain().header("x-forwarded-authorization", &format!("Bearer {ADMIN}")),
        plain().header("api-key", ADMIN),
        plain().header("x-forwarded-for", "127.0.0.1").header("x-real-ip", "127.0.0.1"),
    ];
    all.extend(in_query);
    all.extend(basic);
    all
}

fn with_body(request: Request, method: &str) -> Request {
    if method == "POST" { request.json(&hello()) } else { request }
}

async fn status(client: &Client, request: &Request) -> (u16, String) {
    let answer = client.request(request.clone()).await;
    (answer.status, answer.text().to_owned())
}

async fn two_keys() -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::start().await;
    let keys = json!([{"api": ADMIN, "role": "admin"}, {"api": KEY}]);
    let gateway = Setup::new([channel("up", &upstream)]).api_keys(keys).with_database().start().await;
    (upstream, gateway)
}

#[actix_web::test]
async fn every_route_but_the_public_one_is_closed_to_who_has_no_key() {
    let (upstream, gateway) = two_keys().await;
    let client = gateway.client();
    let mut public = Vec::new();
    for route in routes() {
        let path = route.path.replace("{id}", "gpt-4o");
        for method in route.methods.iter().map(|method| method.as_str()) {
            if route.access == Access::Anybody {
                public.push(format!("{method} {path}"));
                continue;
            }
            for request in without_key(method, &path) {
                let (status, said) = status(&client, &with_body(request.clone(), method)).await;
                assert_eq!(status, 401, "{request:?}: {said}");
                for inner in [ADMIN, KEY, WRONG, "up", "uptime"] {
                    assert!(!said.contains(&format!("\"{inner}\"")), "{said}");
                }
            }
            // With the right one it opens, so that what was refused above was the key.
            let (status, _) = status(&client, &with_body(Request::new(method, &path).key(ADMIN), method)).await;
            assert!(![401, 403, 404, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    assert_eq!(public, ["GET /healthz", "HEAD /healthz"]);
    let asked = upstream.received().len();
    assert!(asked <= 1, "only the chat with the right key may have come so far, not {asked}");
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_for_admins_is_closed_to_other_keys() {
    let (_upstream, gateway) = two_keys().await;
    let client = gateway.client();
    let mut closed = 0;
    for route in routes().iter().filter(|route| route.access == Access::Admin) {
        for method in route.methods.iter().map(|method| method.as_str()) {
            for path in [route.path.clone(), format!("{}?hours=24", route.path)] {
                let (status, said) = status(&client, &Request::new(method, &path).key(KEY)).await;
                assert_eq!(status, 403, "{method} {path}: {said}");
                let error: serde_json::Value = serde_json::from_str(&said).unwrap();
                let fields: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
                assert_eq!((&error["error"]["code"], fields), (&json!("permission_denied"), vec!["error", "message"]));
                closed += 1;
            }
        }
    }
    assert!(closed >= 8, "{closed}");
    gateway.stop().await;
}

#[actix_web::test]
async fn other_methods_and_paths_tell_nothing() {
    let (upstream, gateway) = two_keys().await;
    let client = gateway.client();
    for route in routes() {
        let path = route.path.replace("{id}", "gpt-4o");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "QUERY"] {
            if route.methods.iter().any(|taken| taken.as_str() == method) {
                continue;
            }
            let (status, said) = status(&client, &Request::new(method, &path).key(WRONG)).await;
            assert!([400, 405].contains(&status), "{method} {path}: {status}");
            assert!(said.len() < 300 && !said.contains(WRONG), "{said}");
        }
    }
    for path in ["/", "/v1", "/admin", "/api.yaml", "/data/stats.db", "/v1/../metrics", "/%2e%2e/api.yaml", "//metrics"]
    {
        let (status, said) = status(&client, &Request::get(path)).await;
        assert!([400, 404].contains(&status), "{path}: {status}");
        assert!(!said.contains(KEY), "{said}");
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn the_page_of_the_statistics_has_no_figures() {
    let (_upstream, gateway) = two_keys().await;
    let client = gateway.client();
    assert_eq!(client.post_json(crate::support::CHAT, KEY, &hello()).await.status, 200);
    for path in ["/stats", "/v1/stats"] {
        let page = client.request(Request::get(path).header("accept", "text/html")).await;
        assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
        assert!(!page.text().contains("gpt-4o") && !page.text().contains("sk-"), "it is the same for everybody");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn public_metrics_open_nothing_else() {
    let upstream = FakeUpstream::start().await;
    let keys = json!([{"api": ADMIN, "role": "admin"}, {"api": KEY}]);
    let setup = Setup::new([channel("up", &upstream)]).api_keys(keys).preferences(json!({"metrics": "public"}));
    let gateway = setup.start().await;
    for route in routes().iter().filter(|route| route.access != Access::Anybody) {
        let path = route.path.replace("{id}", "gpt-4o");
        let method = route.methods[0].as_str();
        let (status, _) = status(&gateway.client(), &with_body(Request::new(method, &path), method)).await;
        assert_eq!(status, if path == "/metrics" { 200 } else { 401 }, "{path}");
    }
    gateway.stop().await;
}
