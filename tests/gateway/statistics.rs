//! What is written down of requests and attempts.

use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Float, Integer, Nullable, Text};
use serde_json::json;

use crate::support::{
    CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, gateway::eventually, hello, hello_streamed, with,
    within_patience,
};

#[derive(Debug, QueryableByName)]
struct RequestStats {
    #[diesel(sql_type = Text)]
    request_id: String,
    #[diesel(sql_type = Text)]
    endpoint: String,
    #[diesel(sql_type = Text)]
    client_ip: String,
    #[diesel(sql_type = Float)]
    process_time: f32,
    #[diesel(sql_type = Float)]
    first_response_time: f32,
    #[diesel(sql_type = Nullable<Text>)]
    provider: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    model: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    api_key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    text: Option<String>,
    #[diesel(sql_type = Nullable<Integer>)]
    prompt_tokens: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    completion_tokens: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    total_tokens: Option<i32>,
    #[diesel(sql_type = Bool)]
    is_recent: bool,
}

impl RequestStats {
    fn tokens(&self) -> [Option<i32>; 3] {
        [self.prompt_tokens, self.completion_tokens, self.total_tokens]
    }
}

#[derive(Debug, QueryableByName)]
struct ChannelStats {
    #[diesel(sql_type = Text)]
    request_id: String,
    #[diesel(sql_type = Text)]
    provider: String,
    #[diesel(sql_type = Nullable<Text>)]
    model: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    api_key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    provider_api_key: Option<String>,
    #[diesel(sql_type = Nullable<Bool>)]
    success: Option<bool>,
}

/// Everything that was written, in the order of the requests.
async fn rows(gateway: &Gateway) -> (Vec<RequestStats>, Vec<ChannelStats>) {
    let path = gateway.database().await;
    let mut connection = open(&path);
    let requests =
        "SELECT *, abs(julianday('now') - julianday(timestamp)) < 0.01 AS is_recent FROM request_stats ORDER BY id";
    let attempts = "SELECT * FROM channel_stats ORDER BY id";
    let requests = diesel::sql_query(requests).load(&mut connection).unwrap();
    (requests, diesel::sql_query(attempts).load(&mut connection).unwrap())
}

fn open(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

async fn with_database(upstream: &FakeUpstream) -> Gateway {
    Setup::new([channel("up", upstream)]).with_database().start().await
}

#[actix_web::test]
async fn a_request_is_written_with_all_that_is_known_of_it() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    let messages = json!([
        {"role": "system", "content": "You are a bird."},
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "last"}, {"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": "tweet"},
    ]);
    let answer = gateway.ask(&with(hello(), json!({"messages": messages}))).await;
    let (requests, attempts) = rows(&gateway).await;
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(Some(request.request_id.as_str()), answer.header("x-request-id"));
    assert_eq!((request.endpoint.as_str(), request.client_ip.as_str()), ("POST /v1/chat/completions", "127.0.0.1"));
    assert_eq!((request.provider.as_deref(), request.model.as_deref()), (Some("up"), Some("gpt-4o")));
    assert_eq!(request.text.as_deref(), Some("last"));
    assert_eq!(request.tokens(), [Some(7), Some(5), Some(12)]);
    assert!(0.0 < request.first_response_time && request.first_response_time <= request.process_time, "{request:?}");
    assert!(request.process_time < 10.0 && request.is_recent, "{request:?}");

    let [attempt] = attempts.as_slice() else { panic!("{attempts:?}") };
    assert_eq!((&attempt.request_id, attempt.provider.as_str()), (&request.request_id, "up"));
    assert_eq!((attempt.model.as_deref(), attempt.success), (Some("gpt-4o"), Some(true)));
    assert_eq!(attempt.api_key, request.api_key);
    gateway.stop().await;
}

#[actix_web::test]
async fn keys_are_written_masked_and_can_be_told_apart() {
    let upstream = FakeUpstream::start().await;
    let keys = json!({"api": ["sk-upstream-0001-same-end", "sk-upstream-0002-same-end"]});
    let clients = json!([{"api": "sk-client-0001-same-end"}, {"api": "sk-client-0002-same-end"}]);
    let setup = Setup::new([with(channel("up", &upstream), keys)]).api_keys(clients).with_database();
    let gateway = setup.start().await;
    for key in ["sk-client-0001-same-end", "sk-client-0002-same-end"] {
        assert_eq!(gateway.client().post_json(CHAT, key, &hello()).await.status, 200);
    }
    let (requests, attempts) = rows(&gateway).await;
    let labels: Vec<String> = requests.iter().map(|request| request.api_key.clone().unwrap()).collect();
    let upstream_labels: Vec<String> =
        attempts.iter().map(|attempt| attempt.provider_api_key.clone().unwrap()).collect();
    for labels in [labels, upstream_labels] {
        assert!(labels[0] != labels[1], "{labels:?}");
        assert!(labels.iter().all(|label| label.starts_with("sk-") && label.contains('…')), "{labels:?}");
        assert!(!labels.iter().any(|label| label.contains("000")), "{labels:?}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn tokens_of_a_stream_are_written_whoever_asked_for_them() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    gateway.ask(&hello_streamed()).await;
    gateway.ask(&with(hello_streamed(), json!({"stream_options": {"include_usage": true}}))).await;
    let (requests, attempts) = rows(&gateway).await;
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.tokens() == [Some(7), Some(5), Some(12)]), "{requests:?}");
    assert!(attempts.iter().all(|attempt| attempt.success == Some(true)));
    gateway.stop().await;
}

#[actix_web::test]
async fn every_attempt_has_a_row() {
    let broken = FakeUpstream::in_turn([Reply::error(500, "broken")]).await;
    let good = FakeUpstream::start().await;
    let keyless = json!({"provider": "good", "base_url": good.base_url(), "model": ["gpt-4o"]});
    let setup = Setup::new([channel("broken", &broken), keyless]).fixed_priority().with_database();
    let gateway = setup.start().await;
    gateway.ask(&hello()).await;
    let (requests, attempts) = rows(&gateway).await;
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].provider.as_deref(), Some("good"));
    let attempts: Vec<_> =
        attempts.iter().map(|row| (row.provider.as_str(), row.success, row.provider_api_key.is_some())).collect();
    assert_eq!(attempts, [("broken", Some(false), true), ("good", Some(true), false)]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_that_failed_has_its_rows_too() {
    let upstream = FakeUpstream::in_turn([Reply::error(500, "broken")]).await;
    let gateway = with_database(&upstream).await;
    gateway.ask(&hello()).await;
    let (requests, attempts) = rows(&gateway).await;
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.provider.as_deref(), request.model.as_deref()), (None, Some("gpt-4o")));
    assert_eq!((request.first_response_time, request.text.as_deref()), (-1.0, Some("Hi")));
    assert!(request.process_time > 0.0);
    let attempts: Vec<_> = attempts.iter().map(|attempt| attempt.success).collect();
    assert_eq!(attempts, [Some(false); 2], "it was tried once more");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_that_needs_no_upstream_is_written_as_well() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    let listed = gateway.client().get("/v1/models", KEY).await;
    gateway.client().get("/v1/models", "sk-wrong").await;
    let columns = "SELECT endpoint || ' ' || success || ' ' || status || ' ' || attempts AS line";
    let rows = gateway.query(&format!("{columns} FROM request_stats ORDER BY id")).await;
    assert_eq!(rows, ["GET /v1/models 1 200 0", "GET /v1/models 0 401 0"]);
    let ids = gateway.query("SELECT request_id AS line FROM request_stats WHERE status = 200").await;
    assert_eq!(ids.first().map(String::as_str), listed.header("x-request-id"));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_broke_is_written_as_failed() {
    let upstream = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).cut_after(2)]).await;
    let gateway = with_database(&upstream).await;
    gateway.ask(&hello_streamed()).await;
    let (requests, attempts) = rows(&gateway).await;
    assert_eq!(requests.len(), 1);
    assert!(requests[0].first_response_time > 0.0);
    let attempts: Vec<_> = attempts.iter().map(|attempt| attempt.success).collect();
    assert_eq!(attempts, [Some(false)], "what has begun is not tried again");
    gateway.stop().await;
}

#[actix_web::test]
async fn requests_that_were_refused_are_written() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    let client = gateway.client();
    let answers = [
        client.request(Request::post(CHAT).json(&hello())).await,
        client.post_json(CHAT, "sk-wrong", &hello()).await,
        gateway.post("{").await,
        gateway.ask(&with(hello(), json!({"model": "no-such-model"}))).await,
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [401, 401, 400, 404]);
    let (requests, attempts) = rows(&gateway).await;
    let mut written: Vec<&str> = requests.iter().map(|request| request.request_id.as_str()).collect();
    let mut ids: Vec<&str> = answers.iter().map(|answer| answer.header("x-request-id").unwrap()).collect();
    written.sort_unstable();
    ids.sort_unstable();
    assert_eq!(written, ids);
    assert!(requests.iter().all(|request| request.provider.is_none() && request.first_response_time == -1.0));
    let keys = requests.iter().filter(|request| request.api_key.is_some()).count();
    assert_eq!((keys, attempts.len()), (2, 0), "a wrong key is not kept");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_whose_client_left_is_written() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let gateway = with_database(&upstream).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    upstream.wait_for_disconnect().await;
    eventually("the row", async || !rows(&gateway).await.0.is_empty()).await;
    let (requests, attempts) = rows(&gateway).await;
    assert_eq!((requests.len(), attempts.len()), (1, 1));
    assert_eq!((requests[0].provider.as_deref(), attempts[0].success), (None, None), "nobody failed");
    gateway.stop().await;
}

#[actix_web::test]
async fn no_row_is_lost_under_load() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    let (whole, streamed) = (hello(), hello_streamed());
    for _ in 0..10 {
        let requests = (0..40).map(|n| gateway.ask(if n % 2 == 0 { &whole } else { &streamed }));
        assert!(futures::future::join_all(requests).await.iter().all(|answer| answer.status == 200));
    }
    let mut connection = open(&gateway.database().await);
    for table in ["request_stats", "channel_stats"] {
        let count = format!("SELECT count(DISTINCT request_id) AS rows FROM {table}");
        assert_eq!(diesel::sql_query(count).get_result::<Count>(&mut connection).unwrap().rows, 400, "{table}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_database_that_cannot_be_opened_costs_no_request() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).with_broken_database().start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn whoever_ends_the_gateway_waits_for_a_row_that_is_yet_to_come() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).with_database().start().await;
    let (one, other) = (gateway.stats.place(), gateway.stats.place());
    for place in [one, other] {
        assert!(futures::FutureExt::now_or_never(gateway.stats.all_told()).is_none());
        drop(place);
    }
    within_patience("all rows", gateway.stats.all_told()).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    within_patience("its row", gateway.stats.all_told()).await;
    gateway.stop().await;
}
