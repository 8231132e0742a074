//! Exchanges with the real provider, where a copy of them is at hand.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dialect::Format;
use crate::dialect::openai_chat::{AnswerHead, read_request, write_answer};

fn recordings() -> Vec<Value> {
    let folder = std::env::var_os("UNI_API_RECORDINGS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings"));
    let Ok(files) = std::fs::read_dir(folder.join("cohere")) else {
        println!("skipped: there are no recordings in {}", folder.display());
        return Vec::new();
    };
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        serde_json::from_slice::<Value>(&std::fs::read(file.unwrap().path()).unwrap()).unwrap()
    };
    files.map(read).filter(|recording| recording["request"]["path"] == "/v2/chat").collect()
}

#[test]
fn recorded_answers_lose_nothing() {
    for recording in recordings() {
        let answer = &recording["response"]["body"];
        let bytes = answer.to_string();
        let events = Format::CohereV2.read_answer(bytes.as_bytes()).unwrap();
        let head = AnswerHead { id: String::new(), created: 0, model: String::new() };
        let written: Value = serde_json::from_slice(&write_answer(&head, &events)).unwrap();
        let (choice, message) = (&written["choices"][0], &written["choices"][0]["message"]);
        let text: String = answer["message"]["content"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| part["text"].as_str())
            .collect();
        assert_eq!(message["content"].as_str().unwrap_or_default(), text);
        assert_eq!(message["reasoning_content"], answer["message"]["tool_plan"]);
        assert_eq!(message["tool_calls"], answer["message"]["tool_calls"]);
        let finish = if answer["finish_reason"] == "TOOL_CALL" { "tool_calls" } else { "stop" };
        assert_eq!(choice["finish_reason"], finish);
        let (usage, tokens) = (&written["usage"], &answer["usage"]["tokens"]);
        assert_eq!(usage["prompt_tokens"], tokens["input_tokens"]);
        assert_eq!(usage["completion_tokens"], tokens["output_tokens"]);
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], answer["usage"]["cached_tokens"]);
    }
}

#[test]
fn recorded_requests_are_written_as_they_were() {
    for recording in recordings() {
        let body = &recording["request"]["body"];
        // They differ from OpenAI's in the words of tool_choice only.
        let asked = body.to_string().replace("\"REQUIRED\"", "\"required\"").replace("\"NONE\"", "\"none\"");
        let request = read_request(&asked).unwrap();
        let sent = Format::CohereV2.write_request(&request, body["model"].as_str().unwrap()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), *body);
    }
}
