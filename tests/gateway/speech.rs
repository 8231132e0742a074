//! `POST /v1/audio/speech`: bytes that are passed on as they come.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, gateway::eventually, with};

const SPEECH: &str = "/v1/audio/speech";

fn say(text: &str) -> Value {
    json!({"model": "tts", "input": text, "voice": "alloy", "response_format": "mp3", "speed": 1.0, "instructions": "softly"})
}

fn speaking(name: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"model": [{"tts-1": "tts"}]}))
}

/// Sound of this length: every byte in it, so that no text would survive it.
fn sound(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

/// The same in chunks, as OpenAI sends it.
fn in_chunks(length: usize) -> Reply {
    let sound = sound(length);
    let pieces = sound.chunks(1000).map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    Reply::raw([vec![head], pieces.collect(), vec![b"0\r\n\r\n".to_vec()]].concat().concat())
}

#[actix_web::test]
async fn a_sound_is_passed_on_with_its_type_and_every_field_arrives() {
    for reply in [Reply::body("audio/mpeg", sound(300_000)), in_chunks(300_000)] {
        let upstream = FakeUpstream::in_turn([reply]).await;
        let gateway = Setup::new([speaking("up", &upstream)]).with_database().start().await;
        let answer = gateway.client().post_json(SPEECH, KEY, &say("Hi")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("audio/mpeg")));
        assert!(answer.complete && answer.body == sound(300_000));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let received = &upstream.received()[0];
        assert_eq!((received.path.as_str(), received.json()), (SPEECH, with(say("Hi"), json!({"model": "tts-1"}))));
        let row = "SELECT endpoint || ' ' || model || ' ' || success || ' ' || text AS line FROM request_stats";
        assert_eq!(gateway.query(row).await, ["POST /v1/audio/speech tts 1 Hi"]);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn the_first_bytes_do_not_wait_for_the_last() {
    let gate = Arc::new(Semaphore::new(1));
    let reply = Reply::body("audio/wav", sound(20_000)).split_every(10_000).gate(Arc::clone(&gate));
    let upstream = FakeUpstream::in_turn([reply]).await;
    let gateway = Gateway::before([speaking("up", &upstream)]).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(SPEECH).key(KEY).json(&say("Hi"))).await;
    let mut seen = 0;
    while seen < 10_000 {
        seen += connection.read_raw(64 * 1024).await.expect("the first half").len();
    }
    gate.add_permits(1);
    while seen < 20_000 {
        seen += connection.read_raw(64 * 1024).await.expect("the second half").len();
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_sound_that_is_cut_does_not_look_whole() {
    let lie = Reply::body("audio/mpeg", sound(5_000)).content_length_lie(9_000);
    let chunks = in_chunks(5_000);
    let cut_chunks = |bytes| chunks.clone().cut_at_byte(bytes);
    for reply in [lie, cut_chunks(4_000), Reply::sse(["one", "two"]).content_type("audio/mpeg").cut_after(1)] {
        let upstream = FakeUpstream::in_turn([reply]).await;
        let gateway = Setup::new([speaking("up", &upstream)]).with_database().start().await;
        let answer = gateway.client().post_json(SPEECH, KEY, &say("Hi")).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.complete, "{} bytes look like all", answer.body.len());
        assert!(!answer.body.is_empty(), "what came before is not lost");
        let rows = gateway.query("SELECT success || ' ' || outcome AS line FROM channel_stats").await;
        assert_eq!(rows, ["0 upstream_cut_answer"]);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn another_channel_speaks_when_the_first_one_cannot() {
    let second = FakeUpstream::in_turn([Reply::body("audio/mpeg", sound(100))]).await;
    for broken in [
        Reply::error(500, "down"),
        Reply::json(200, json!({"error": {"message": "no such voice"}})),
        Reply::body("text/html", "<html></html>"),
        Reply::body("audio/mpeg", ""),
        Reply::close_without_answer(),
    ] {
        let first = FakeUpstream::in_turn([broken]).await;
        let setup = Setup::new([speaking("first", &first), speaking("second", &second)]).fixed_priority();
        let gateway = setup.start().await;
        let answer = gateway.client().post_json(SPEECH, KEY, &say("Hi")).await;
        assert_eq!((answer.status, &answer.body), (200, &sound(100)));
        assert!(!first.received().is_empty());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_upstream_along() {
    let half = Arc::new(Semaphore::new(1));
    let upstream =
        FakeUpstream::in_turn([Reply::body("audio/mpeg", sound(20_000)).split_every(10_000).gate(half)]).await;
    let gateway = Gateway::before([speaking("up", &upstream)]).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(SPEECH).key(KEY).json(&say("Hi"))).await;
    connection.read_raw(1024).await.expect("the beginning");
    connection.hang_up();
    upstream.wait_for_disconnect().await;
    gateway.all_settled().await;
    assert_eq!(gateway.health(0).cancelled(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn speech_in_events_ends_with_its_last_event_or_an_error() {
    let delta = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AAAA\"}\n\n";
    let done = "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":14,\"output_tokens\":101,\"total_tokens\":115}}\n\n";
    let upstream = FakeUpstream::in_turn([Reply::sse([delta, delta, done]), Reply::sse([delta])]).await;
    let gateway = Setup::new([speaking("up", &upstream)]).with_database().start().await;
    let request = with(say("Hi"), json!({"stream_format": "sse"}));
    let whole = gateway.client().post_json(SPEECH, KEY, &request).await;
    assert_eq!((whole.header("content-type"), whole.events().len()), (Some("text/event-stream; charset=utf-8"), 3));
    let cut = gateway.client().post_json(SPEECH, KEY, &request).await;
    let events: Vec<Value> = cut.events().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!((events.len(), &events[1]["error"]["code"]), (2, &json!("upstream_cut_answer")));
    let rows = "SELECT success || ' ' || prompt_tokens || ' ' || completion_tokens AS line FROM request_stats LIMIT 1";
    assert_eq!(gateway.query(rows).await, ["1 14 101"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_missing_is_named() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([speaking("up", &upstream)]).await;
    for (request, param) in [(json!({"model": "tts"}), "input"), (json!({"input": "Hi"}), "model")] {
        let answer = gateway.client().post_json(SPEECH, KEY, &request).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)));
    }
    assert_eq!(gateway.client().post_json(SPEECH, "sk-nobody", &say("Hi")).await.status, 401);
    let unknown = with(say("Hi"), json!({"model": "gpt-9"}));
    assert_eq!(gateway.client().post_json(SPEECH, KEY, &unknown).await.status, 404);
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn limits_and_moderation_apply() {
    let upstream = FakeUpstream::answering(|request| match request.path.as_str() {
        SPEECH => Reply::body("audio/mpeg", sound(10)),
        _ => Reply::json(200, json!({"results": [{"flagged": request.json()["input"] == "bad"}]})),
    })
    .await;
    let models = json!({"model": [{"tts-1": "tts"}, "omni-moderation-latest"]});
    let setup = Setup::new([with(channel("up", &upstream), models)]);
    let gateway = setup.client_preferences(json!({"ENABLE_MODERATION": true, "rate_limit": "2/min"})).start().await;
    let ask = async |text: &str| gateway.client().post_json(SPEECH, KEY, &say(text)).await;
    assert_eq!(ask("good").await.status, 200);
    let flagged = ask("bad").await;
    assert_eq!((flagged.status, &flagged.json()["error"]["code"]), (400, &json!("content_flagged")));
    assert_eq!(ask("good").await.status, 429);
    eventually("the slot back", async || gateway.health(0).in_flight() == 0).await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_that_cannot_speak_is_passed_over() {
    let claude = FakeUpstream::start().await;
    let openai = FakeUpstream::in_turn([Reply::body("audio/mpeg", sound(10))]).await;
    let mute = with(speaking("mute", &claude), json!({"engine": "claude"}));
    let setup = Setup::new([mute.clone(), speaking("openai", &openai)]).fixed_priority();
    let gateway = setup.start().await;
    assert_eq!(gateway.client().post_json(SPEECH, KEY, &say("Hi")).await.status, 200);
    gateway.stop().await;

    let gateway = Gateway::before([mute]).await;
    let answer = gateway.client().post_json(SPEECH, KEY, &say("Hi")).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"]), (400, &json!("unsupported_by_channel")));
    assert_eq!(error["message"], "mute: this channel's format has no speech");
    assert!(claude.received().is_empty());
    gateway.stop().await;
}
