//! A recording is in memory once, however often it is sent.
#![cfg(target_os = "linux")]

use serde_json::json;

use crate::support::form::{Form, parts};
use crate::support::{FakeUpstream, KEY, Program, Reply, channel, with};

const FILE_BYTES: usize = 50_000_000;
/// Of the file's length, in percent.
const MAX_GROWTH: usize = 130;

/// A figure of the process, in bytes.
fn memory(pid: &str, figure: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[actix_web::test]
async fn a_recording_of_50_mb_that_is_sent_twice_takes_its_own_length_of_memory() {
    let down = FakeUpstream::in_turn([Reply::error(500, "down")]).await;
    let up = FakeUpstream::in_turn([Reply::json(200, json!({"text": "hello"}))]).await;
    let channels = [("down", &down), ("up", &up)]
        .map(|(name, upstream)| with(channel(name, upstream), json!({"model": ["whisper-1"]})));
    let keys = json!([{"api": KEY, "preferences": {"SCHEDULING_ALGORITHM": "fixed_priority"}}]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("api.yaml"), json!({"providers": channels, "api_keys": keys}).to_string())
        .unwrap();
    let mut program = Program::start(folder.path(), &[]);
    let client = program.client().await;
    let file: Vec<u8> = (0..FILE_BYTES).map(|at| u8::try_from((at * 31 + at / 977) % 256).unwrap()).collect();
    let transcribe = async |file: &[u8]| {
        let form = Form::new().text("language", "de").file("file", "a.mp3", file).text("model", "whisper-1");
        let answer = client.request(form.post("/v1/audio/transcriptions")).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"text": "hello"})));
    };
    transcribe(b"short").await;

    let before = memory(&program.pid(), "VmRSS");
    transcribe(&file).await;
    let growth = memory(&program.pid(), "VmHWM").saturating_sub(before) * 100 / FILE_BYTES;
    println!("the peak of memory grew by {growth} % of the file");
    for upstream in [&down, &up] {
        let received = upstream.received();
        assert!(parts(&received[1]).iter().any(|part| part.content == file), "the file arrived as it was");
    }
    assert!((50..MAX_GROWTH).contains(&growth), "{growth} %");
    assert_eq!(program.terminate().await.code(), Some(0));
}
