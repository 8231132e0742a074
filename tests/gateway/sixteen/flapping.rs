//! The primary goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::support::{FakeUpstream, Gateway, Reply, hello, hello_streamed};

use super::{backed, text_of, whole_and_streamed};

const OPEN: Duration = Duration::from_millis(300);

/// Unavailable until it is switched on. Streams then pass a gate, event by event.
async fn flapping(gate: &Arc<Semaphore>) -> (FakeUpstream, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let (switch, gate) = (Arc::clone(&is_well), Arc::clone(gate));
    let upstream = FakeUpstream::answering(move |request| {
        match (switch.load(Ordering::Relaxed), request.json()["stream"] == true) {
            (false, _) => Reply::error(503, "we are moving house"),
            (true, false) => Reply::chat("Hello"),
            (true, true) => Reply::stream(["Hel", "lo"]).gate(Arc::clone(&gate)),
        }
    })
    .await;
    (upstream, is_well)
}

async fn in_front_of(primary: &FakeUpstream, fallback: &FakeUpstream) -> Gateway {
    let breaker = json!({"breaker": {"failures": 3, "open": OPEN.as_secs_f64()}});
    backed(primary, fallback).preferences(breaker).start().await
}

#[actix_web::test]
async fn s15_primary_flaps() {
    for request in whole_and_streamed() {
        let (primary, is_well) = flapping(&Arc::new(Semaphore::new(1000))).await;
        let fallback = FakeUpstream::start().await;
        let gateway = in_front_of(&primary, &fallback).await;
        let started = Instant::now();
        while started.elapsed() < 3 * OPEN {
            assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
            sleep(Duration::from_millis(5)).await;
        }
        let received = primary.received();
        let probes = &received[2..];
        assert!(probes.len() >= 2, "it is asked again");
        assert!(probes.windows(2).all(|two| two[1].at - two[0].at >= OPEN), "{probes:?}");

        is_well.store(true, Ordering::Relaxed);
        let (recovered, asked) = (Instant::now(), received.len());
        while primary.received().len() == asked {
            assert!(recovered.elapsed() < 2 * OPEN, "the primary is not used again");
            sleep(Duration::from_millis(5)).await;
            assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        }
        let by_fallback = fallback.received().len();
        for _ in 0..5 {
            assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        }
        assert_eq!(fallback.received().len(), by_fallback, "from then on the primary answers");
        gateway.stop().await;
    }
    one_long_answer_is_enough().await;
}

/// The primary is trusted again when its answer to a probe begins, not only when it has ended.
async fn one_long_answer_is_enough() {
    let gate = Arc::new(Semaphore::new(0));
    let (primary, is_well) = flapping(&gate).await;
    let fallback = FakeUpstream::start().await;
    let gateway = in_front_of(&primary, &fallback).await;
    for _ in 0..5 {
        assert_eq!(text_of(&gateway.ask(&hello()).await), "Hello");
    }
    assert_eq!((primary.received().len(), fallback.received().len()), (3, 5));

    is_well.store(true, Ordering::Relaxed);
    gate.add_permits(2);
    let probe = loop {
        let stream = gateway.open(&hello_streamed()).await;
        if primary.received().len() > 3 {
            break stream;
        }
        assert_eq!(text_of(&stream.rest().await), "Hello");
        sleep(Duration::from_millis(5)).await;
    };
    let by_fallback = fallback.received().len();
    for _ in 0..3 {
        assert_eq!(text_of(&gateway.ask(&hello()).await), "Hello");
    }
    assert_eq!(fallback.received().len(), by_fallback, "the primary answers while its first stream goes on");
    gate.close();
    assert_eq!(text_of(&probe.rest().await), "Hello");
    gateway.stop().await;
}
