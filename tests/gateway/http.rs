//! What the gateway answers itself: bad requests, sizes, routes, request ids.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    Answer, CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, hello, hello_streamed, with,
};

/// The error of an answer of this status, in the shape that every error has.
fn error_of(answer: &Answer, status: u16) -> (String, String) {
    assert_eq!(answer.status, status, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("no error in {body}"));
    assert_eq!(error.keys().map(String::as_str).collect::<HashSet<_>>(), ["message", "type", "param", "code"].into());
    assert_eq!(body["message"], error["message"]);
    let text = |field: &str| error[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned();
    assert!(!text("type").is_empty());
    (text("code"), text("message"))
}

/// A gateway whose upstream must never be asked.
async fn gateway_alone() -> Gateway {
    Gateway::start(&format!(
        "providers: [{{provider: up, base_url: 'http://127.0.0.1:9/v1', model: gpt-4o}}]\napi_keys: [{{api: {KEY}}}]"
    ))
    .await
}

#[actix_web::test]
async fn malformed_json_is_refused_with_its_position() {
    let gateway = gateway_alone().await;
    for (body, position) in [
        ("{\"model\": \"gpt-4o\",\n  \"messages\": [}", "line 2 column 16"),
        ("{\"model\": \"gpt-4o\"", "line 1 column 18"),
        ("", "line 1 column 0"),
        ("hello", "line 1 column 1"),
        ("{\"model\":\"gpt-4o\",\"messages\":[]} x", "line 1 column 34"),
        ("{\"model\":\"gpt-4o\",\"messages\":[],}", "line 1 column 33"),
        ("{'model':'gpt-4o'}", "line 1 column 2"),
    ] {
        let (code, message) = error_of(&gateway.post(body).await, 400);
        assert!(message.contains(position), "{body:?}: {message}");
        assert_eq!(code, "invalid_request");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn wrong_types_are_refused_by_name() {
    let gateway = gateway_alone().await;
    for (field, value) in [
        ("model", json!(7)),
        ("model", json!(null)),
        ("model", json!("")),
        ("model", json!(["gpt-4o"])),
        ("messages", json!("Hi")),
        ("messages", json!({})),
        ("messages", json!(null)),
        ("stream", json!("yes")),
        ("stream", json!(1)),
        ("stream_options", json!("usage")),
    ] {
        let (_, message) = error_of(&gateway.ask(&with(hello(), json!({field: value}))).await, 400);
        assert!(message.contains(field), "{field}: {value}: {message}");
    }
    for (body, field) in [(json!({"messages": []}), "model"), (json!({"model": "gpt-4o"}), "messages")] {
        let answer = gateway.ask(&body).await;
        assert!(error_of(&answer, 400).1.contains(field));
        assert_eq!(answer.json()["error"]["param"], field);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_no_object_is_refused() {
    let gateway = gateway_alone().await;
    let million = format!("[{}0]", "0,".repeat(1_000_000));
    for body in ["[]", "7", "null", "\"text\"", "true", million.as_str()] {
        assert!(error_of(&gateway.post(body.to_owned()).await, 400).1.contains("object"));
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_second_model_in_any_disguise_is_refused() {
    let gateway = gateway_alone().await;
    for second in ["model", "Model", "MODEL", "\\u006dodel", "mod\\u0065l", "\\u004dodel"] {
        for body in [
            format!("{{\"model\":\"gpt-4o\",\"{second}\":\"other\",\"messages\":[]}}"),
            format!("{{\"{second}\":\"other\",\"messages\":[],\"model\":\"gpt-4o\"}}"),
        ] {
            let (_, message) = error_of(&gateway.post(body.clone()).await, 400);
            assert!(message.contains("model"), "{body}: {message}");
        }
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_model_within_other_fields_is_nobodys_business() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let body = with(hello(), json!({"metadata": {"model": "a", "Model": "b"}, "my_model": "c"}));
    assert_eq!(gateway.ask(&body).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn invalid_utf8_is_refused() {
    let gateway = gateway_alone().await;
    let bad: [&[u8]; 3] = [
        b"\xff\xfe{\"model\":\"gpt-4o\",\"messages\":[]}",
        b"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"\xc3\x28\"}]}",
        b"{\"model\":\"\x80\",\"messages\":[]}",
    ];
    for body in bad {
        error_of(&gateway.post(body).await, 400);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn depth_and_numbers_beyond_all_reason_break_nothing() {
    let upstream = FakeUpstream::start().await;
    // Statistics look into messages.
    let gateway = Setup::new([channel("up", &upstream)]).with_database().start().await;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let numbers = "1,".repeat(1_000_000);
    for body in [
        format!("{{\"model\":\"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":{deep}}}]}}"),
        format!("{{\"model\":\"gpt-4o\",\"messages\":[],\"x\":{deep}}}"),
        format!("{{\"model\":\"gpt-4o\",\"stream_options\":{{\"x\":{deep}}},\"messages\":[]}}"),
        format!("{{\"model\":\"gpt-4o\",\"messages\":[{numbers}1]}}"),
    ] {
        let answer = gateway.post(body).await;
        assert!([200, 400].contains(&answer.status), "{}", answer.text());
    }
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_needs_no_content_type() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let body = hello().to_string();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\n");
    let bare = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    assert_eq!(gateway.client().raw(bare).await.unwrap().status, 200);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(gateway.client().raw(chunked).await.unwrap().status, 200);
    let request = Request::post(CHAT).key(KEY).body("text/plain", body);
    assert_eq!(gateway.client().request(request).await.status, 200);
    gateway.stop().await;
}

async fn small_gateway(upstream: &FakeUpstream) -> Gateway {
    Setup::new([channel("up", upstream)]).preferences(json!({"max_request_body_bytes": 1000})).start().await
}

#[actix_web::test]
async fn a_body_that_announces_too_much_is_refused_unread() {
    let upstream = FakeUpstream::start().await;
    let gateway = small_gateway(&upstream).await;
    for length in ["1001", "104857600", "18446744073709551615"] {
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-length: {length}\r\n\r\n"
        );
        let (code, message) = error_of(&gateway.client().raw(head).await.unwrap(), 413);
        assert_eq!(code, "request_too_large");
        assert!(message.contains("1000") && message.contains("max_request_body_bytes"), "{message}");
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_that_grows_too_large_is_refused() {
    let upstream = FakeUpstream::start().await;
    let gateway = small_gateway(&upstream).await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut connection = gateway.client().connect().await;
    connection.send_raw(format!("{head}{chunk}{chunk}")).await;
    connection.send_raw("1\r\nx\r\n").await;
    error_of(&connection.answer().await.unwrap(), 413);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_too_large_in_its_first_piece_is_refused() {
    let upstream = FakeUpstream::start().await;
    let gateway = small_gateway(&upstream).await;
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut connection = gateway.client().connect().await;
    connection.send_raw(format!("{head}5dc\r\n{}\r\n0\r\n\r\n", "x".repeat(1500))).await;
    error_of(&connection.answer().await.unwrap(), 413);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_up_to_the_limit_is_taken() {
    let upstream = FakeUpstream::start().await;
    let gateway = small_gateway(&upstream).await;
    let padded = |length: usize| {
        let bare = with(hello(), json!({"pad": ""})).to_string().len();
        with(hello(), json!({"pad": "x".repeat(length - bare)}))
    };
    assert_eq!(gateway.ask(&padded(1000)).await.status, 200);
    assert_eq!(gateway.ask(&padded(1001)).await.status, 413);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_sends_a_huge_body_regardless_learns_why_it_was_refused() {
    let upstream = FakeUpstream::start().await;
    let gateway = small_gateway(&upstream).await;
    let answer = gateway.post(vec![b'x'; 40 * 1024 * 1024]).await;
    error_of(&answer, 413);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_prompt_of_ten_megabytes_passes() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let long = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x".repeat(10 * 1024 * 1024)}]});
    assert_eq!(gateway.ask(&long).await.status, 200);
    assert!(upstream.received()[0].body == long.to_string(), "it arrived as it was sent");
    assert_eq!(gateway.post(vec![b' '; 33 * 1024 * 1024]).await.status, 413);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_that_breaks_off_reaches_no_upstream() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-length: 500\r\n\r\n");
    let mut connection = gateway.client().connect().await;
    connection.send_raw(head + &hello().to_string()).await;
    connection.hang_up();
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_in_pieces_is_answered_when_the_last_one_is_there() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let body = hello().to_string();
    let head = |framing: String| {
        format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\n{framing}\r\n\r\n")
    };
    let announced = head(format!("content-length: {}", body.len()));
    let (beginning, end) = body.split_at(20);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunked = head("transfer-encoding: chunked".to_owned()) + &chunk(beginning);
    let in_pieces = [
        vec![announced.clone(), beginning.to_owned(), end.to_owned()],
        vec![chunked, chunk(end), chunk("")],
        // The second of two requests is on its way before the first one is answered.
        vec![format!("{announced}{body}{announced}{beginning}"), end.to_owned()],
    ];
    let mut connection = gateway.client().connect().await;
    for pieces in &in_pieces {
        for piece in pieces {
            connection.send_raw(piece).await;
            sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..pieces.concat().matches("POST").count() {
            assert_eq!(connection.answer().await.unwrap().status, 200);
        }
    }
    assert_eq!(upstream.received().len(), 4);
    assert!(upstream.received().iter().all(|received| received.body == body));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_flood_of_headers_is_refused() {
    let gateway = gateway_alone().await;
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(1024 * 1024));
    for flood in [many, long] {
        let head = format!("GET /v1/models HTTP/1.1\r\nhost: h\r\n{flood}\r\n");
        if let Some(answer) = gateway.client().raw(head).await {
            assert!((400..500).contains(&answer.status), "{}", answer.status);
        }
    }
    assert_eq!(gateway.models(KEY).await, ["gpt-4o"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn garbage_on_the_wire_is_refused() {
    let gateway = gateway_alone().await;
    for garbage in ["\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\r\n\r\n", "GET\r\n\r\n", "hello\r\n\r\n"] {
        if let Some(answer) = gateway.client().raw(garbage).await {
            assert_eq!(answer.status, 400);
        }
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn every_answer_has_an_id_of_its_own() {
    let upstream = FakeUpstream::in_turn([Reply::chat("Hello"), Reply::stream(["Hi"]), Reply::error(500, "no")]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let client = gateway.client();
    let answers = [
        gateway.ask(&hello()).await,
        gateway.ask(&hello_streamed()).await,
        gateway.ask(&hello()).await,
        gateway.post("{").await,
        client.get("/v1/models", KEY).await,
        client.get("/v1/models", "sk-wrong").await,
        client.get("/nowhere", KEY).await,
        client.request(Request::new("DELETE", CHAT)).await,
        client.request(Request::new("OPTIONS", CHAT)).await,
        client.get("/healthz", KEY).await,
    ];
    let ids: HashSet<&str> = answers.iter().filter_map(|answer| answer.header("x-request-id")).collect();
    assert_eq!(ids.len(), answers.len(), "{ids:?}");
    assert!(answers.iter().all(|answer| answer.headers.all("x-request-id").len() == 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn unknown_routes_and_methods_are_refused_in_the_same_shape() {
    let gateway = gateway_alone().await;
    let client = gateway.client();
    for path in ["/", "/v1", "/v1/chat", "/v1/chat/completions/x", "/chat/completions", "/v1//models"] {
        let (code, message) = error_of(&client.get(path, KEY).await, 404);
        assert!(code == "unknown_url" && message.contains(path), "{message}");
    }
    for (method, path) in [("GET", CHAT), ("PUT", CHAT), ("POST", "/v1/models"), ("DELETE", "/healthz")] {
        let answer = client.request(Request::new(method, path).key(KEY)).await;
        assert_eq!(error_of(&answer, 405).0, "method_not_allowed");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn health_is_told_to_anyone() {
    let gateway = gateway_alone().await;
    let answer = gateway.client().request(Request::get("/healthz")).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &Value::from("ok")));
    assert_eq!(answer.json()["version"], env!("CARGO_PKG_VERSION"));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_panic_in_a_handler_answers_500_in_the_same_shape() {
    use actix_web::{App, HttpResponse, HttpServer, web};
    async fn panics() -> HttpResponse {
        panic!("a handler that panics on purpose")
    }
    let app = || App::new().wrap(uni_api::http::Edge).route("/panic", web::get().to(panics));
    let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let client = crate::support::Client::new(server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    for _ in 0..2 {
        let answer = client.request(Request::get("/panic")).await;
        assert_eq!(error_of(&answer, 500).0, "internal_error");
        assert!(!answer.text().contains("on purpose"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.header("x-request-id").is_some());
    }
    handle.stop(false).await;
}
