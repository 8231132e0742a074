//! `http2: true`: what is asked and answered is the same as over HTTP/1.1.

mod endings;
mod sharing;

use bytes::Bytes;
use h2::Reason;
use serde_json::{Value, json};

use crate::support::{
    Abilities, Authority, FakeProxy, FakeUpstream, Gateway, Http2Upstream, KEY, Manner, OpenStream, Setup, TlsFront,
    channel_at,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, CANARY},
    refusing_address, with,
};

/// With one worker, since connections are a worker's own.
async fn before(providers: impl IntoIterator<Item = Value>) -> Gateway {
    Setup::new(providers).workers(1).start().await
}

/// The text of a stream up to now, piece by piece.
async fn next_text(stream: &mut OpenStream) -> Option<String> {
    let event: Value = serde_json::from_str(&stream.next_event().await?).ok()?;
    Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
}

#[actix_web::test]
async fn headers_and_overrides_are_sent_as_over_http1() {
    let mut upstream = Http2Upstream::start().await;
    let preferences = json!({
        "http2": true,
        "headers": {"X-Team": "blue", "User-Agent": "other/1"},
        "post_body_parameter_overrides": {"seed": 7},
    });
    let gateway = before([upstream.channel_with("up", preferences)]).await;
    let request = hello();
    let played = async {
        let mut asked = upstream.asked().await;
        assert_eq!((asked.header("x-team"), asked.header("user-agent")), (Some("blue"), Some("other/1")));
        assert_eq!(serde_json::from_slice::<Value>(&asked.body().await).unwrap()["seed"], 7);
        asked.answer_chat("Hello").await;
    };
    assert_eq!(tokio::join!(gateway.ask(&request), played).0.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn every_piece_of_a_stream_arrives_once_and_in_order() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello_streamed();
    let played = async {
        let mut answer = upstream.asked().await.begin_stream();
        for number in 0..500 {
            answer.send_chunk(&format!("<{number}>")).await;
            if number % 50 == 0 {
                answer.send_nothing();
            }
        }
        answer.done().await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    let events = answer.events();
    let texts = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let text: String =
        texts.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect();
    assert_eq!(text, (0..500).map(|number| format!("<{number}>")).collect::<String>());
    assert!(answer.complete && events.last().unwrap() == "[DONE]");
    gateway.stop().await;
}

/// Bytes of this length, in which no text would survive.
fn sound(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

#[actix_web::test]
async fn bytes_arrive_as_they_are_and_never_look_whole_when_they_are_not() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([with(upstream.channel("up"), json!({"model": ["tts-1"]}))]).await;
    let (request, sound) = (json!({"model": "tts-1", "input": "Hi", "voice": "alloy"}), sound(3_000_000));
    let client = gateway.client();
    for is_cut in [false, true] {
        let (mut answer, mut answering) = tokio::join!(client.open_stream("/v1/audio/speech", KEY, &request), async {
            let mut answering = upstream.asked().await.begin(200, &[("content-type", "audio/mpeg")]);
            answering.send(sound.slice(..100_000)).await;
            answering
        });
        assert_eq!(answer.status, 200);
        answering.send_nothing();
        let answer = match is_cut {
            true => {
                answer.read_at_least(100_000).await;
                answering.reset(Reason::CANCEL);
                answer.rest().await
            }
            false => tokio::join!(answer.rest(), answering.finish(sound.slice(100_000..))).0,
        };
        assert_eq!(answer.complete, !is_cut);
        assert!(answer.body == sound.slice(..if is_cut { 100_000 } else { sound.len() }), "{}", answer.body.len());
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_long_request_arrives_whole() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let text = "0123456789abcdef".repeat(200_000);
    let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    let played = async {
        let mut asked = upstream.asked().await;
        let body: Value = serde_json::from_slice(&asked.body().await).unwrap();
        assert!(body["messages"][0]["content"] == text.as_str());
        asked.answer_chat("Hello").await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answer.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn an_answer_may_begin_before_the_whole_request_is_read() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let text = "0123456789abcdef".repeat(200_000);
    let request = with(hello_streamed(), json!({"messages": [{"role": "user", "content": text}]}));
    let played = async {
        let mut answer = upstream.asked().await.begin_stream();
        answer.send_chunk("Hello").await;
        assert!(answer.rest_of_request().await.len() > text.len());
        answer.done().await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert!(answer.text().contains("[DONE]"), "{}", answer.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn http1_is_spoken_where_nothing_else_is_wished() {
    let behind = FakeUpstream::start().await;
    let mut upstream = Http2Upstream::with(Abilities { http1: Some(behind.address()), ..Abilities::default() }).await;
    let gateway = before([upstream.channel_with("up", json!({}))]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!((behind.received().len(), upstream.accepted_connections()), (1, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn http1_is_spoken_to_servers_that_speak_nothing_else() {
    let upstream = FakeUpstream::start().await;
    let authority = Authority::new("ours");
    let front = TlsFront::of(upstream.address(), "localhost", &authority).await;
    let file = authority.file_with([]);
    let wishes = json!({"preferences": {"ca_file": file.path(), "http2": true}});
    for base_url in [front.base_url(), upstream.base_url()] {
        let gateway = before([with(channel_at("up", &base_url), wishes.clone())]).await;
        for request in [hello(), hello_streamed()] {
            let answer = gateway.ask(&request).await;
            assert!(answer.status == 200 && answer.complete, "{base_url}");
        }
        gateway.stop().await;
    }
    assert_eq!(upstream.received().len(), 4);
}

#[actix_web::test]
async fn http1_is_spoken_from_when_the_server_requires_it() {
    let behind = FakeUpstream::start().await;
    let mut upstream = Http2Upstream::with(Abilities { http1: Some(behind.address()), ..Abilities::default() }).await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    let played = async { upstream.asked().await.reset(Reason::HTTP_1_1_REQUIRED) };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answer.status, 200);
    assert_eq!(gateway.ask(&request).await.status, 200);
    assert_eq!(behind.received().len(), 2);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_list_of_models_is_asked_for_over_http2_as_well() {
    let mut upstream = Http2Upstream::start().await;
    let mut provider = upstream.channel("up");
    provider.as_object_mut().unwrap().remove("model");
    let gateway = before([provider]).await;
    let asked = upstream.asked().await;
    assert_eq!((asked.method.as_str(), asked.uri.path()), ("GET", "/v1/models"));
    assert_eq!((asked.header("content-length"), asked.header("content-type")), (None, None));
    asked.answer(200, &json!({"object": "list", "data": [{"id": "a"}, {"id": "b"}]})).await;
    eventually("the models", async || gateway.models(KEY).await == ["a", "b"]).await;
    gateway.stop().await;
}

#[actix_web::test]
async fn it_goes_through_a_proxy_as_well() {
    let mut upstream = Http2Upstream::start().await;
    let proxy = FakeProxy::http(Manner::Opens).await;
    let preferences = json!({"http2": true, "proxy": proxy.url("http", "")});
    let gateway = before([upstream.channel_with("up", preferences)]).await;
    let request = hello();
    for _ in 0..2 {
        let played = async { upstream.asked().await.answer_chat("Hello").await };
        assert_eq!(tokio::join!(gateway.ask(&request), played).0.status, 200);
    }
    assert_eq!(proxy.asked().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_server_that_is_not_there_or_not_trusted_is_told_as_over_http1() {
    let upstream = Http2Upstream::start().await;
    let strange = with(upstream.channel("up"), json!({"preferences": {"http2": true}}));
    let gateway = before([strange]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("name it in preferences.ca_file"), "{}", answer.text());
    gateway.stop().await;

    let nobody = refusing_address().await;
    let provider = channel_at("up", &format!("https://localhost:{}/v1", nobody.port()));
    let gateway = before([with(provider, json!({"preferences": {"http2": true}}))]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("no connection to the upstream"), "{}", answer.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn no_key_and_no_prompt_is_logged_on_the_way() {
    let mut upstream = Http2Upstream::start().await;
    let marker = format!("{CANARY}-over-http2");
    let preferences = json!({"http2": true, "headers": {"X-Team": format!("team-{marker}")}});
    let keyed = with(upstream.channel_with("up", preferences), json!({"api": format!("sk-up-{marker}-0123456789")}));
    let gateway = before([keyed]).await;
    let request =
        with(hello_streamed(), json!({"messages": [{"role": "user", "content": format!("prompt {marker}")}]}));
    let played = async {
        let mut asked = upstream.asked().await;
        assert!(String::from_utf8_lossy(&asked.body().await).contains(&marker));
        let mut answer = asked.begin_stream();
        answer.send_chunk(&format!("answer {marker}")).await;
        answer.done().await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert!(answer.text().contains(&marker), "{}", answer.text());
    gateway.stop().await;
    let told: Vec<String> = logs::lines().into_iter().filter(|line| line.contains(&marker)).collect();
    assert!(told.is_empty(), "{told:#?}");
}
