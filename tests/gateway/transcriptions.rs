//! `POST /v1/audio/transcriptions` and `/v1/audio/translations`: recordings in forms.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::form::{BOUNDARY, Form, parts, post_form, text_of};
use crate::support::{Answer, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, with};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const TRANSLATIONS: &str = "/v1/audio/translations";
const DELTA: &str = "event: transcript.text.delta\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"Hel\"}\n\n";
const DONE: &str = "event: transcript.text.done\ndata: {\"type\":\"transcript.text.done\",\"text\":\"Hello\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"output_tokens\":45,\"total_tokens\":59}}\n\n";

/// A recording that is not text, and has what looks like boundaries.
fn recording(bytes: usize) -> Vec<u8> {
    let pattern = [b"\0\xff\r\n--", &BOUNDARY.as_bytes()[..20], b"\r\n\r\n--\r"].concat();
    pattern.into_iter().cycle().take(bytes).collect()
}

fn small() -> Form {
    Form::new().file("file", "a.mp3", b"\0\x01audio").text("model", "whisper-1")
}

fn transcript() -> Reply {
    Reply::json(200, json!({"text": "Hello"}))
}

/// A channel with a model for recordings.
fn listening(name: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"model": ["whisper-1"]}))
}

async fn before(reply: Reply) -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::in_turn([reply]).await;
    let gateway = Gateway::before([listening("up", &upstream)]).await;
    (upstream, gateway)
}

async fn send(gateway: &Gateway, form: &Form) -> Answer {
    gateway.client().request(form.post(TRANSCRIPTIONS)).await
}

fn error_of(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.json()["error"]["message"].as_str().expect("a message").to_owned()
}

#[actix_web::test]
async fn every_field_arrives_as_it_was_with_only_the_model_renamed() {
    let upstream = FakeUpstream::in_turn([transcript()]).await;
    let models = json!({"model": [{"whisper-large-v3": "whisper-1"}]});
    let gateway = Gateway::before([with(channel("up", &upstream), models)]).await;
    let audio = recording(700_000);
    let form = Form::new()
        .text("language", "de")
        .file("file", "Grüße \"1\".mp3".replace('"', "%22").as_str(), &audio)
        .text("prompt", "Ünïcode")
        .text("response_format", "json")
        .text("temperature", "0.2")
        .text("timestamp_granularities[]", "word")
        .text("timestamp_granularities[]", "segment")
        .text("unheard_of", "")
        .text("model", "whisper-1");
    for path in [TRANSCRIPTIONS, TRANSLATIONS] {
        let answer = gateway.client().request(form.post(path)).await;
        assert_eq!((answer.status, answer.text()), (200, r#"{"text":"Hello"}"#));
        let received = upstream.received().pop().unwrap();
        assert_eq!(received.path, path);
        assert_eq!(received.bearer(), Some("sk-upstream-of-up-0123456789"));
        let parts = parts(&received);
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let granularities = "timestamp_granularities[]";
        let rest = ["prompt", "response_format", "temperature", granularities, granularities, "unheard_of", "model"];
        assert_eq!(names, [&["language", "file"][..], &rest].concat());
        assert_eq!(
            parts[1].header,
            "Content-Disposition: form-data; name=\"file\"; filename=\"Grüße %221%22.mp3\"\r\nContent-Type: application/octet-stream"
        );
        assert!(parts[1].content == audio, "the recording arrived as it was sent");
        let texts: Vec<&str> = parts.iter().skip(2).map(|part| part.text()).collect();
        assert_eq!(texts, ["Ünïcode", "json", "0.2", "word", "segment", "", "whisper-large-v3"]);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_form_in_chunks_of_any_size_arrives_as_it_was() {
    let (upstream, gateway) = before(transcript()).await;
    let audio = recording(20_000);
    let body = Form::new().text("model", "whisper-1").file("file", "a.mp3", &audio).body();
    for size in [1, 7, 5_000] {
        let head = format!(
            "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-type: multipart/form-data; boundary=\"{BOUNDARY}\"\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let mut connection = gateway.client().connect().await;
        connection.send_raw(head).await;
        let chunks = body.chunks(size).map(|chunk| [format!("{size:x}\r\n").as_bytes(), chunk, b"\r\n"].concat());
        // All chunks but the last one are that long.
        let (whole, last) = (body.len() / size, body.chunks(size).next_back().unwrap());
        connection.send_raw(chunks.take(whole).collect::<Vec<_>>().concat()).await;
        if last.len() < size {
            connection.send_raw([format!("{:x}\r\n", last.len()).as_bytes(), last, b"\r\n"].concat()).await;
        }
        connection.send_raw("0\r\n\r\n").await;
        assert_eq!(connection.answer().await.unwrap().status, 200, "chunks of {size}");
        assert!(parts(&upstream.received().pop().unwrap())[1].content == audio, "chunks of {size}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn an_answer_keeps_its_content_type_and_its_bytes() {
    let verbose = r#"{"task":"transcribe","language":"english","duration":8.5,"text":"Hi", "segments":[]}"#;
    for (format, content_type, body) in [
        ("json", "application/json", r#"{ "text":"Hi","usage":{"type":"duration","seconds":9} }"#),
        ("verbose_json", "application/json", verbose),
        ("text", "text/plain; charset=utf-8", "Grüße\n"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:01,000\nHi\n\n"),
        ("srt", "application/x-subrip", "1\n00:00:00,000 --> 00:00:01,000\nHi\n\n"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\nHi\n\n"),
    ] {
        let (_upstream, gateway) = before(Reply::body(content_type, body)).await;
        for path in [TRANSCRIPTIONS, TRANSLATIONS] {
            let answer = gateway.client().request(small().text("response_format", format).post(path)).await;
            assert_eq!((answer.status, answer.text()), (200, body), "{format}");
            assert_eq!(answer.header("content-type"), Some(content_type), "{format}");
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_transcript_is_streamed_as_it_comes() {
    let gate = Arc::new(Semaphore::new(1));
    let (upstream, gateway) = before(Reply::sse([DELTA, DELTA, DONE]).gate(Arc::clone(&gate))).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&small().text("stream", "true").post(TRANSCRIPTIONS)).await;
    let mut stream = connection.into_stream().await.expect("an answer");
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers.get("content-type"), Some("text/event-stream; charset=utf-8"));
    for event in [DELTA, DELTA, DONE] {
        assert_eq!(stream.next_block().await.unwrap(), event.trim_end());
        gate.add_permits(1);
    }
    assert_eq!(stream.next_block().await, None);
    assert!(stream.rest().await.complete);
    assert_eq!(text_of(&parts(&upstream.received()[0]), "stream"), "true");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_is_cut_ends_with_an_error() {
    let (_upstream, gateway) = before(Reply::sse([DELTA, DONE]).cut_after(1)).await;
    let answer = send(&gateway, &small().text("stream", "true")).await;
    let events = answer.events();
    assert_eq!((answer.status, events.len()), (200, 2), "{events:?}");
    assert!(events[0].contains("Hel"));
    let error: Value = serde_json::from_str(&events[1]).unwrap();
    assert_eq!(error["error"]["code"], "upstream_cut_answer");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_failure_sends_the_same_recording_to_the_next_channel() {
    let audio = recording(3_000_000);
    let form = Form::new().file("file", "a.mp3", &audio).text("model", "whisper-1");
    let refused = Reply::body("text/html", "<html>Just a moment</html>");
    let cut = Reply::body("application/json", "{\"text\":");
    for failure in
        [Reply::error(500, "oops"), Reply::reset_without_answer(), refused, cut, Reply::sse([DELTA]).cut_at_byte(0)]
    {
        let bad = FakeUpstream::in_turn([failure.clone()]).await;
        let good = FakeUpstream::in_turn([transcript()]).await;
        let setup = Setup::new([listening("bad", &bad), listening("good", &good)]);
        let gateway = setup.fixed_priority().start().await;
        let answer = send(&gateway, &form).await;
        assert_eq!((answer.status, answer.text()), (200, r#"{"text":"Hello"}"#), "{failure:?}");
        assert!(!bad.received().is_empty(), "{failure:?}");
        for upstream in [&bad, &good] {
            assert!(parts(&upstream.received()[0])[0].content == audio, "{failure:?}");
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    for (reply, form) in [
        (Reply::never_answer(), small()),
        (Reply::never_answer(), small().text("stream", "true")),
        (transcript().stall_after(0), small()),
    ] {
        let (upstream, gateway) = before(reply).await;
        let mut connection = gateway.client().connect().await;
        connection.send(&form.post(TRANSCRIPTIONS)).await;
        upstream.wait_for_requests(1).await;
        connection.hang_up();
        timeout(Duration::from_secs(1), upstream.wait_for_disconnect()).await.expect("the request to end upstream");
        gateway.all_settled().await;
        let health = gateway.health(0);
        assert_eq!((health.cancelled(), health.failed(), health.succeeded()), (1, 0, 0));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_in_the_middle_of_its_upload_is_forgotten() {
    let (upstream, gateway) = before(transcript()).await;
    let whole = Form::new().file("file", "a.mp3", &recording(500_000)).text("model", "whisper-1").body();
    let head = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {}\r\n\r\n",
        whole.len()
    );
    let mut connection = gateway.client().connect().await;
    connection.send_raw([head.as_bytes(), &whole[..300_000]].concat()).await;
    connection.hang_up();
    assert_eq!(send(&gateway, &small()).await.status, 200);
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn what_a_transcription_needs_is_asked_for() {
    let (upstream, gateway) = before(transcript()).await;
    for (form, field) in [
        (Form::new().text("model", "whisper-1"), "file"),
        (Form::new().text("model", "whisper-1").text("file", "not a file"), "file"),
        (Form::new().file("file", "a.mp3", b"x"), "model"),
        (Form::new().file("file", "a.mp3", b"x").text("model", ""), "model"),
        (small().text("model", "whisper-1"), "model"),
        (Form::new().file("file", "a.mp3", b"x").file("model", "a.txt", b"whisper-1"), "model"),
        (small().text("stream", "perhaps"), "stream"),
        (Form::new(), "file"),
    ] {
        for path in [TRANSCRIPTIONS, TRANSLATIONS] {
            let answer = gateway.client().request(form.post(path)).await;
            let message = error_of(&answer, 400);
            assert_eq!(answer.json()["error"]["param"], field, "{message}");
            assert!(message.contains(&format!("\"{field}\"")), "{message}");
        }
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_not_a_form_is_refused_with_what_to_send() {
    let (upstream, gateway) = before(transcript()).await;
    let json = Request::post(TRANSCRIPTIONS).key(KEY).json(&json!({"model": "whisper-1", "file": "x"}));
    let bare = Request::post(TRANSCRIPTIONS).key(KEY).header("content-length", "0");
    let twice = small().post(TRANSCRIPTIONS).header("content-type", "multipart/form-data; boundary=x");
    for request in [json, bare, twice] {
        let message = error_of(&gateway.client().request(request).await, 400);
        assert!(message.contains("multipart/form-data"), "{message}");
    }
    for content_type in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"]
    {
        let request = Request::post(TRANSCRIPTIONS).key(KEY).body(content_type, small().body());
        let message = error_of(&gateway.client().request(request).await, 400);
        assert!(message.contains("boundary"), "{message}");
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn forms_that_are_made_to_hurt_are_refused() {
    let (upstream, gateway) = before(transcript()).await;
    let many = (0..10_000).fold(small(), |form, n| form.text(&n.to_string(), "x"));
    let long_header = small().part(&format!("X-Long: {}", "x".repeat(1 << 20)), b"x");
    let many_fields = small().part(&"X: 1\r\n".repeat(200), b"x");
    let body = small().body();
    for (form, why) in [
        (many.body(), "parts"),
        (long_header.body(), "header"),
        (many_fields.body(), "header"),
        (body[..body.len() - 10].to_vec(), "ended"),
        (body[..30].to_vec(), "ended"),
        (Vec::new(), "boundary"),
        (b"\r\n--".repeat(100_000), "boundary"),
        ([b"x".repeat(1 << 20), body.clone()].concat(), "boundary"),
        ([body.clone(), b"x".repeat(1 << 20)].concat(), "boundary"),
    ] {
        let message = error_of(&gateway.client().request(post_form(TRANSCRIPTIONS, form)).await, 400);
        assert!(message.contains(why), "{message}");
    }
    assert!(upstream.received().is_empty());
    let bomb = format!("\r\n--{}", &BOUNDARY[..BOUNDARY.len() - 1]).repeat(500_000);
    let form = Form::new().file("file", "a.mp3", bomb.as_bytes()).text("model", "whisper-1");
    assert_eq!(send(&gateway, &form).await.status, 200);
    assert!(parts(&upstream.received()[0])[0].content == bomb, "it is a recording like any other");
    gateway.stop().await;
}

#[actix_web::test]
async fn recordings_have_a_limit_of_their_own() {
    let upstream = FakeUpstream::in_turn([transcript()]).await;
    let limits = json!({"max_request_body_bytes": 1000, "max_upload_bytes": 100_000});
    let gateway = Setup::new([listening("up", &upstream)]).preferences(limits).start().await;
    let form = |bytes| Form::new().file("file", "a.mp3", &recording(bytes)).text("model", "whisper-1");
    assert_eq!(send(&gateway, &form(90_000)).await.status, 200);
    let head = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-type: multipart/form-data; boundary={BOUNDARY}\r\n"
    );
    // Refused before anything of it has come, ...
    let announced = gateway.client().raw(format!("{head}content-length: 100001\r\n\r\n")).await.unwrap();
    // ... or when so much has.
    let mut connection = gateway.client().connect().await;
    let chunk = format!("c350\r\n{}\r\n", "x".repeat(50_000));
    connection.send_raw(format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
    let begin = String::from_utf8(Form::new().file("file", "a.mp3", b"").body()).unwrap();
    let begin = begin.split(&format!("\r\n--{BOUNDARY}--")).next().unwrap().to_owned();
    connection.send_raw(format!("{:x}\r\n{begin}\r\n{chunk}{chunk}", begin.len())).await;
    for answer in [announced, connection.answer().await.unwrap()] {
        let message = error_of(&answer, 413);
        assert!(message.contains("100000") && message.contains("max_upload_bytes"), "{message}");
    }
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_waits_to_be_asked_for_its_recording_is_asked() {
    let (upstream, gateway) = before(transcript()).await;
    let body = small().body();
    let head = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-type: multipart/form-data; boundary={BOUNDARY}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = gateway.client().connect().await;
    connection.send_raw(head).await;
    let asked = connection.read_raw(100).await.expect("a status");
    assert_eq!(asked, "HTTP/1.1 100 Continue\r\n\r\n");
    connection.send_raw(body).await;
    assert_eq!(connection.answer().await.unwrap().status, 200);
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(upstream.received()[0].header("expect"), None);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_limit_of_requests_counts_recordings() {
    let upstream = FakeUpstream::in_turn([transcript()]).await;
    let setup = Setup::new([listening("up", &upstream)]).client_preferences(json!({"RATE_LIMIT": "1/min"}));
    let gateway = setup.start().await;
    let first = send(&gateway, &small()).await;
    assert_eq!((first.status, first.header("x-ratelimit-remaining-requests")), (200, Some("0")));
    let second = send(&gateway, &small()).await;
    assert_eq!((second.status, &second.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_recording_is_written_into_the_statistics() {
    let usage = json!({"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59});
    let whole = Reply::json(200, json!({"text": "Hello", "usage": usage}));
    let upstream = FakeUpstream::in_turn([whole, Reply::sse([DELTA, DONE]), transcript()]).await;
    let gateway = Setup::new([listening("up", &upstream)]).with_database().start().await;
    for form in [small(), small().text("stream", "true"), small(), Form::new().text("model", "whisper-1")] {
        send(&gateway, &form).await;
    }
    let columns = "endpoint || ' ' || coalesce(model, '-') || ' ' || coalesce(provider, '-') || ' ' || coalesce(total_tokens, '-')";
    let rows = gateway.query(&format!("SELECT {columns} AS line FROM request_stats ORDER BY id")).await;
    let row = |model: &str, rest: &str| format!("POST {TRANSCRIPTIONS} {model} {rest}");
    assert_eq!(rows, [row("whisper-1", "up 59"), row("whisper-1", "up 59"), row("whisper-1", "up -"), row("-", "- -")]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_was_not_asked_for_is_no_transcript() {
    let (first, second) =
        (FakeUpstream::in_turn([Reply::sse([DELTA, DONE])]).await, FakeUpstream::in_turn([transcript()]).await);
    let gateway = Setup::new([listening("first", &first), listening("second", &second)]).fixed_priority().start().await;
    let answer = send(&gateway, &small()).await;
    assert_eq!((answer.status, answer.text(), first.received().len()), (200, r#"{"text":"Hello"}"#, 1));
    gateway.stop().await;
}
