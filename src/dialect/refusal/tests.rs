use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::*;
use FailureKind::*;

/// An answer without headers.
fn said(status: u16, body: &str) -> Said<'_> {
    let now_unix_s = 1_700_000_000;
    Said { status, retry_after: None, retry_after_ms: None, body: body.as_bytes(), advice: "look for it", now_unix_s }
}

fn refused(status: u16, body: &str) -> Failure {
    refusal(&said(status, body))
}

fn in_answer(error: &str) -> Failure {
    error_in_answer(serde_json::from_str(error).unwrap())
}

#[test]
fn every_provider_is_understood() {
    let blocks: Vec<_> = include_str!("errors.txt").split("\n\n").filter(|block| !block.starts_with('#')).collect();
    assert!(blocks.len() > 90);
    for block in blocks {
        let mut lines = block.lines();
        let mut verdict = lines.next().unwrap().split(' ');
        let status = verdict.next().unwrap().parse().unwrap();
        let failure = refused(status, lines.next().unwrap());
        assert_eq!(format!("{:?}", failure.kind), verdict.next().unwrap(), "{block}");
        let seconds = verdict.next().map(|seconds| Duration::from_secs_f64(seconds.parse().unwrap()));
        assert_eq!(failure.retry_after, seconds, "{block}");
        let key_refused = format!("the upstream refused the gateway's key with status {status}; look for it");
        let message = lines.next();
        assert_eq!(message.is_none(), failure.kind == KeyRefused, "{block}");
        assert_eq!(failure.message, message.unwrap_or(&key_refused), "{block}");
    }
}

#[test]
fn bodies_that_are_no_json_are_understood() {
    let page = |status| format!("the upstream answered with status {status} and a web page");
    let nothing = |status| format!("the upstream answered with status {status} and no message");
    for (status, body, kind, message) in [
        (413, "<html>\r\n<head><title>413 Request Entity Too Large</title></head>", Rejected, page(413)),
        (502, "<html><center><h1>502 Bad Gateway</h1></center></html>", UpstreamStatus, page(502)),
        (503, "\n<!DOCTYPE html><html>", Overloaded, page(503)),
        (403, "<html>Just a moment</html>", UpstreamStatus, page(403)),
        (500, "Internal Server Error\nat line 7", UpstreamStatus, "Internal Server Error".to_owned()),
        (500, "{\"error\":{\"message\":\"cut he", UpstreamStatus, nothing(500)),
        (500, "", UpstreamStatus, nothing(500)),
        (307, "", UpstreamStatus, nothing(307)),
        (429, "{}", RateLimited, nothing(429)),
        (408, "null", UpstreamStatus, nothing(408)),
    ] {
        let failure = refused(status, body);
        assert_eq!((failure.kind, failure.message), (kind, message), "{status} {body}");
    }
    assert_eq!(refused(401, "<html>401</html>").kind, KeyRefused);
}

#[test]
fn what_a_provider_calls_its_error_is_kept() {
    let failure = refused(422, r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#);
    let words = (failure.upstream_type.as_deref(), failure.upstream_code.as_deref(), failure.param.as_deref());
    assert_eq!(words, (Some("t"), Some("c"), Some("p")));
    assert_eq!(failure.upstream_status, Some(422));
    let failure = refused(500, r#"{"error":{"message":"m","code":500,"param":"p"}}"#);
    assert_eq!((failure.upstream_code, failure.param), (None, None), "a status is no code");
    let failure = refused(422, r#"{"detail":[{"loc":["body","messages"],"msg":"m"}]}"#);
    assert_eq!(failure.param.as_deref(), Some("messages"));
}

#[test]
fn what_clients_act_upon_is_said_in_one_way() {
    let told = |status, body| {
        let failure = refused(status, body);
        assert_eq!((&failure.upstream_type, &failure.upstream_code), (&None, &None), "{body}");
        (failure.status(), failure.kind.public().code)
    };
    let context = r#"{"error":{"message":"prompt is too long","type":"invalid_request_error","code":"x"}}"#;
    assert_eq!(told(400, context), (400, "context_length_exceeded"));
    assert_eq!(told(403, context), (400, "context_length_exceeded"));
    let filter = r#"{"error":{"message":"m","code":"data_inspection_failed"}}"#;
    assert_eq!(told(400, filter), (400, "content_filter"));
    let balance = r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#;
    assert_eq!(told(400, balance), (429, "insufficient_quota"));
    assert_eq!(told(402, balance), (402, "insufficient_quota"));
}

#[test]
fn a_key_in_the_words_of_a_refusal_is_not_repeated() {
    let failure =
        refused(401, r#"{"error":{"message":"sk-SECRET","type":"sk-SECRET","code":"sk-SECRET","param":"sk-SECRET"}}"#);
    assert!(!format!("{failure:?}").contains("SECRET"));
}

#[test]
fn a_place_where_a_provider_does_not_serve_is_not_the_clients_fault() {
    let failure = refused(400, r#"{"error":{"code":400,"message":"User location is not supported for the API use."}}"#);
    assert_eq!((failure.status(), failure.kind.next()), (502, crate::canon::Next::Channel));
}

#[test]
fn a_403_that_is_not_about_the_key_is_not_told_as_one() {
    for (body, status) in [
        (r#"{"error":{"message":"m","code":"model_not_found"}}"#, 404),
        (r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#, 429),
        ("<html>Just a moment</html>", 502),
    ] {
        assert_eq!(refused(403, body).status(), status, "{body}");
    }
}

#[test]
fn headers_come_before_what_the_body_says() {
    let body = r#"{"error":{"message":"Please try again in 9s"}}"#;
    let seconds = Said { retry_after: Some("7"), ..said(429, body) };
    assert_eq!(refusal(&seconds).retry_after, Some(Duration::from_secs(7)));
    let milliseconds = Said { retry_after_ms: Some("1500"), ..seconds };
    assert_eq!(refusal(&milliseconds).retry_after, Some(Duration::from_millis(1500)));
    let date = Said { retry_after: Some("Tue, 14 Nov 2023 22:13:50 GMT"), ..said(429, body) };
    assert_eq!(refusal(&date).retry_after, Some(Duration::from_secs(30)));
    assert_eq!(refused(400, body).retry_after, None, "that is about the request");
}

#[test]
fn long_messages_are_cut() {
    let failure = refused(500, &format!(r#"{{"error":"{}"}}"#, "ü".repeat(2000)));
    assert_eq!(failure.message.chars().count(), 1000);
}

#[test]
fn errors_in_answers_are_classified_by_their_words() {
    for (error, kind) in [
        (r#"{"type":"overloaded_error","message":"Overloaded"}"#, Overloaded),
        (r#"{"type":"rate_limit_error","message":"Slow down"}"#, RateLimited),
        (r#"{"type":"rate_limit_error","message":"The number of input tokens has exceeded the limit"}"#, RateLimited),
        (r#"{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}"#, RateLimited),
        (r#"{"code":"429","message":"Slow down"}"#, RateLimited),
        (r#"{"code":503,"message":"Gone for lunch"}"#, Overloaded),
        (r#"{"code":"context_length_exceeded","message":"m"}"#, ContextTooLong),
        (r#"{"code":"content_filter","message":"m"}"#, ContentFiltered),
        (r#"{"type":"api_error","message":"Internal server error"}"#, ErrorInAnswer),
        (r#"{"code":400,"message":"Provider returned error"}"#, ErrorInAnswer),
        (r#"{"code":"insufficient_quota","message":"out of credit"}"#, ErrorInAnswer),
        (r#""boom""#, ErrorInAnswer),
        ("{}", ErrorInAnswer),
    ] {
        assert_eq!(in_answer(error).kind, kind, "{error}");
    }
}

#[test]
fn an_error_in_an_answer_keeps_its_words() {
    let failure = in_answer(r#"{"type":"t","code":"busy","message":"Please try again in 2s, rate limit"}"#);
    assert_eq!((failure.upstream_type.as_deref(), failure.upstream_code.as_deref()), (Some("t"), Some("busy")));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(2)));
    let failure = in_answer(r#"{"type":"t","code":"content_filter"}"#);
    assert_eq!((failure.upstream_type, failure.upstream_code), (None, None));
    assert_eq!(in_answer("{}").message, "the upstream reported an error");
}

/// The recordings lie beside the repository, or where `UNI_API_RECORDINGS` says.
#[test]
fn recorded_errors_keep_their_messages() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
    let folder = std::env::var_os("UNI_API_RECORDINGS").map_or_else(beside, Into::into);
    let Ok(providers) = std::fs::read_dir(&folder) else {
        println!("skipped: there are no recordings at {}", folder.display());
        return;
    };
    let mut count = 0;
    for provider in providers.filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok()) {
        for file in provider {
            let path = file.unwrap().path();
            let exchange: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let status = exchange["response"]["status"].as_u64().unwrap();
            if status < 400 {
                continue;
            }
            let body = &exchange["response"]["body"];
            let failure = refused(status.try_into().unwrap(), &body.to_string());
            let name_is_wrong = status == 404 || body["error"]["code"] == "model_not_found";
            let kind = if name_is_wrong { UpstreamNotFound } else { Rejected };
            assert_eq!(
                (failure.kind, failure.message.as_str()),
                (kind, body["error"]["message"].as_str().unwrap()),
                "{}",
                path.display()
            );
            count += 1;
        }
    }
    assert!(count > 0, "no recorded error in {}", folder.display());
    println!("{count} recorded errors");
}
