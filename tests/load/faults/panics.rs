//! Actors that panic at random moments under load.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uni_api::actors::messages::Crash;

use crate::support::{
    Answer, CHAT, FakeUpstream, Gateway, KEY, Received, Reply, Setup, channel, hello, hello_streamed, with,
};

use super::MANY;

const SEED: u64 = 7;
/// As many clients make one request after the other for as long as there are panics.
const CLIENTS: usize = 8;
/// How often somebody panics, and how long nobody does in between, in milliseconds at most.
const PANICS: usize = 120;
const PAUSE_MS: u64 = 15;

/// Repeats the number that the request came with.
fn echo(request: &Received) -> Reply {
    let body = request.json();
    let said = body["messages"][0]["content"].as_str().unwrap();
    if body["stream"] == true { Reply::stream([said]) } else { Reply::chat(said) }
}

fn saying(request: Value, number: usize) -> Value {
    with(request, json!({"messages": [{"role": "user", "content": format!("<{number}>")}]}))
}

/// Panics of everybody, in an order and at times that the seed decides.
async fn panic_at_random(gateway: &Gateway) {
    let mut rng = Rng::with_seed(SEED);
    for _ in 0..PANICS {
        let crash = if rng.bool() { Crash::InHandler } else { Crash::Fatal };
        match rng.u8(..6) {
            0 => gateway.control.router().do_send(crash),
            1 => gateway.stats.crash(Crash::InHandler),
            _ => {
                let channels = gateway.control.providers();
                let provider = rng.usize(..channels.len().max(1));
                if let Some(provider) = channels.iter().nth(provider) {
                    provider.do_send(crash);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(..PAUSE_MS))).await;
    }
}

/// Whether the answer is the one to this request. If not, it says honestly that there is none.
fn is_answered(answer: &Answer, number: usize) -> bool {
    let expected = format!("<{number}>");
    assert!(answer.complete);
    if answer.status != 200 {
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (500, &json!("internal_error")),
            "{}",
            answer.text()
        );
        return false;
    }
    assert!(answer.text().contains(&expected), "{} instead of {expected}", answer.text());
    assert_eq!(answer.text().matches('<').count(), 1, "{}", answer.text());
    if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    }
    true
}

/// How many requests it has made, and how many of them were answered.
async fn client(gateway: &Gateway, client: usize, is_over: &Cell<bool>) -> (usize, usize) {
    let (mut asked, mut answered) = (0, 0);
    while !is_over.get() {
        let number = asked * CLIENTS + client;
        let request = if asked % 2 == 0 { hello() } else { hello_streamed() };
        asked += 1;
        answered += usize::from(is_answered(&gateway.ask(&saying(request, number)).await, number));
    }
    (asked, answered)
}

#[actix_web::test]
async fn actors_that_panic_at_random_cost_no_stream_its_end_and_no_request_a_wrong_answer() {
    let gates = Arc::new(Mutex::new(Vec::new()));
    let all_gates = Arc::clone(&gates);
    let slow = FakeUpstream::answering(move |_| {
        let gate = Arc::new(Semaphore::new(2));
        all_gates.lock().unwrap().push(Arc::clone(&gate));
        Reply::stream(["Hel", "lo"]).gate(gate)
    })
    .await;
    let (first, second) = (FakeUpstream::answering(echo).await, FakeUpstream::answering(echo).await);
    let providers = [
        with(channel("slow", &slow), json!({"model": ["slow"]})),
        channel("first", &first),
        channel("second", &second),
    ];
    let gateway = Setup::new(providers).with_database().start().await;
    let mut streams = Vec::new();
    for _ in 0..MANY {
        let mut stream =
            gateway.client().open_stream(CHAT, KEY, &with(hello_streamed(), json!({"model": "slow"}))).await;
        stream.next_event().await.unwrap();
        streams.push(stream);
    }

    let is_over = Cell::new(false);
    let load = join_all((0..CLIENTS).map(|number| client(&gateway, number, &is_over)));
    let panics = async {
        panic_at_random(&gateway).await;
        is_over.set(true);
    };
    let (clients, ()) = tokio::join!(load, panics);
    let (asked, answered) = clients.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{answered} of {asked} requests were answered while actors panicked {PANICS} times");
    // Asked three times, a question may meet three panics.
    assert!(answered * 10 >= asked * 9, "{answered} of {asked}");

    gates.lock().unwrap().iter().for_each(|gate| gate.close());
    for stream in streams {
        let rest = stream.rest().await;
        assert!(rest.complete && rest.text().ends_with("data: [DONE]\n\n"), "a stream was cut: {}", rest.text());
    }
    // All is well again, of everybody.
    for number in 0..20 {
        assert!(is_answered(&gateway.ask(&saying(hello(), number)).await, number));
    }
    gateway.all_settled().await;
    let metrics = gateway.client().get("/metrics", KEY).await;
    for gauge in metrics.text().lines().filter(|line| line.contains("_in_flight{") && !line.contains("other")) {
        assert!(gauge.ends_with(" 0"), "{gauge}");
    }
    for upstream in [&slow, &first, &second] {
        assert_eq!(upstream.disconnects(), 0, "a request was given up");
    }
    let sql = "SELECT CAST(count(DISTINCT request_id) AS TEXT) AS line FROM request_stats";
    let written: u64 = gateway.query(sql).await[0].parse().unwrap();
    let all = u64::try_from(MANY + asked + 20).unwrap();
    assert_eq!(written + gateway.stats.dropped(), all, "rows that are neither there nor counted as lost");
    assert!(written >= all / 2, "{written} of {all}");
    assert_eq!(gateway.stats.queued(), 0);
    gateway.stop_with_losses().await;
}
