use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::canon::{Failure, FailureKind};
use crate::dialect::Format;
use crate::dialect::openai_chat::read_request;

const AGENT: &str = include_str!("fixtures/agent.json");

/// What a client's request becomes.
fn written(body: &str, format: Format, model: &str) -> Result<Value, Failure> {
    let request = read_request(body)?;
    Ok(serde_json::from_slice(&format.write_request(&request, model)?).unwrap())
}

/// A request with one user message and these fields.
fn with(fields: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{fields}}}"#)
}

fn said_by(messages: &str) -> String {
    format!(r#"{{"model":"m","messages":{messages}}}"#)
}

fn untranslatable(body: &str, format: Format) -> Option<String> {
    let failure = written(body, format, "command-a-03-2025").unwrap_err();
    assert_eq!(failure.kind, FailureKind::Untranslatable, "{body}");
    failure.param.map(|param| param.into_owned())
}

#[test]
fn an_agents_conversation_in_version_2() {
    assert_json_snapshot!(written(AGENT, Format::CohereV2, "command-a-reasoning-08-2025").unwrap());
}

#[test]
fn an_agents_conversation_in_version_1() {
    assert_json_snapshot!(written(AGENT, Format::CohereV1, "command-r-plus").unwrap());
}

#[test]
fn results_that_come_last_in_version_1_stand_apart_without_a_message() {
    let mut agent: Value = serde_json::from_str(AGENT).unwrap();
    agent["messages"].as_array_mut().unwrap().truncate(7);
    agent["tool_choice"] = "none".into();
    let sent = written(&agent.to_string(), Format::CohereV1, "command-r").unwrap();
    assert_eq!((&sent["message"], sent["tool_results"].as_array().unwrap().len()), (&json!(""), 3));
    assert_eq!(sent["chat_history"].as_array().unwrap().len(), 2);
    // Without tools the results would be refused.
    assert_eq!(sent["tools"].as_array().unwrap().len(), 2);
}

#[test]
fn images_go_by_address_or_by_bytes() {
    let body = said_by(
        r#"[{"role":"user","content":[{"type":"text","text":"what is this?"},
            {"type":"image_url","image_url":{"url":"https://example.com/a.png","detail":"high"}},
            {"type":"image_url","image_url":"data:image/jpeg;base64,/9j/4AAQ"},
            {"type":"file","file":{"file_data":"data:image/png;base64,iVBORw0KGgo"}}]}]"#,
    );
    let sent = written(&body, Format::CohereV2, "command-a-vision-07-2025").unwrap();
    let expected = json!([
        { "type": "text", "text": "what is this?" },
        { "type": "image_url", "image_url": { "url": "https://example.com/a.png", "detail": "high" } },
        { "type": "image_url", "image_url": { "url": "data:image/jpeg;base64,/9j/4AAQ" } },
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo" } },
    ]);
    assert_eq!(sent["messages"][0]["content"], expected);
    assert_eq!(untranslatable(&body, Format::CohereV1), None);
}

#[test]
fn what_a_version_cannot_say_is_left_to_other_channels() {
    let audio =
        r#"[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"UklGRg","format":"wav"}}]}]"#;
    let pdf =
        r#"[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0"}}]}]"#;
    let picture = r#"[{"role":"user","content":"draw"},
        {"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"a","content":[{"type":"image_url","image_url":"https://example.com/a.png"}]}]"#;
    for format in [Format::CohereV2, Format::CohereV1] {
        for messages in [audio, pdf, picture] {
            untranslatable(&said_by(messages), format);
        }
        assert_eq!(untranslatable(&with(r#""n":2"#), format).as_deref(), Some("n"));
        assert_eq!(untranslatable(&with(r#""tools":[{"type":"web_search"}]"#), format).as_deref(), Some("tools"));
    }
    let ends_with_the_assistant = said_by(r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#);
    assert_eq!(untranslatable(&ends_with_the_assistant, Format::CohereV1).as_deref(), Some("messages"));
    let result_without_call = said_by(r#"[{"role":"tool","tool_call_id":"a","content":"x"}]"#);
    assert_eq!(untranslatable(&result_without_call, Format::CohereV1).as_deref(), Some("messages"));
    let forced = with(r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#);
    assert_eq!(untranslatable(&forced, Format::CohereV1).as_deref(), Some("tool_choice"));
}

#[test]
fn a_call_is_forced_forbidden_or_narrowed_down() {
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}]"#;
    let sent = |choice: &str| {
        let body = with(&format!(r#"{tools},"tool_choice":{choice}"#));
        let sent = written(&body, Format::CohereV2, "command-a-03-2025").unwrap();
        let names: Vec<_> =
            sent["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].clone()).collect();
        (sent["tool_choice"].clone(), Value::from(names))
    };
    assert_eq!(sent(r#""auto""#), (json!(null), json!(["f", "g"])));
    assert_eq!(sent(r#""required""#), (json!("REQUIRED"), json!(["f", "g"])));
    assert_eq!(sent(r#""none""#), (json!("NONE"), json!(["f", "g"])));
    assert_eq!(sent(r#"{"type":"function","function":{"name":"g"}}"#), (json!("REQUIRED"), json!(["g"])));
    let allowed =
        r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","name":"f"}]}}"#;
    assert_eq!(sent(allowed), (json!(null), json!(["f"])));
    let without = written(&with(r#""tool_choice":"none""#), Format::CohereV2, "command-a-03-2025").unwrap();
    assert_eq!(without.get("tool_choice"), None);
    let version_1 = with(&format!(r#"{tools},"tool_choice":"none""#));
    assert_eq!(written(&version_1, Format::CohereV1, "command-r").unwrap().get("tools"), None);
}

#[test]
fn tools_are_strict_when_all_of_them_are() {
    let strict = |first: bool, second: &str| {
        let body = with(&format!(
            r#""tools":[{{"type":"function","function":{{"name":"f","strict":{first}}}}},
                {{"type":"function","function":{{"name":"g"{second}}}}}]"#
        ));
        written(&body, Format::CohereV2, "command-a-03-2025").unwrap()["strict_tools"].clone()
    };
    assert_eq!(strict(true, r#","strict":true"#), json!(true));
    assert_eq!(strict(true, ""), json!(null));
    let own = with(r#""strict_tools":false"#);
    assert_eq!(written(&own, Format::CohereV2, "command-a-03-2025").unwrap()["strict_tools"], json!(false));
}

#[test]
fn json_is_asked_for_by_its_field_and_beside_tools_in_words() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#;
    let format =
        format!(r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#);
    let schema: Value = serde_json::from_str(schema).unwrap();
    let sent = |version, fields: &str| written(&with(fields), version, "command-a-03-2025").unwrap();
    let form = sent(Format::CohereV2, &format)["response_format"].clone();
    assert_eq!(form, json!({ "type": "json_object", "json_schema": schema }));
    let form = sent(Format::CohereV1, &format)["response_format"].clone();
    assert_eq!(form, json!({ "type": "json_object", "schema": schema }));
    let plain = sent(Format::CohereV2, r#""response_format":{"type":"json_object"}"#);
    assert_eq!(plain["response_format"], json!({ "type": "json_object" }));
    let tools = format!(r#"{format},"tools":[{{"type":"function","function":{{"name":"f"}}}}]"#);
    let version_2 = sent(Format::CohereV2, &tools);
    assert_eq!(version_2.get("response_format"), None);
    let said = version_2["messages"][0]["content"].as_str().unwrap();
    assert!(said.contains("one JSON object") && said.contains(&schema.to_string()), "{said}");
    assert_eq!(sent(Format::CohereV1, &tools)["preamble"], version_2["messages"][0]["content"]);
}

#[test]
fn a_schema_goes_as_the_client_wrote_it() {
    // Half a surrogate pair: valid JSON that no string can hold.
    let schema = r#"{ "type":"object", "description":"\ud83c" }"#;
    let format =
        format!(r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#);
    let body = with(&format);
    let request = read_request(&body).unwrap();
    for version in [Format::CohereV2, Format::CohereV1] {
        let sent = String::from_utf8(version.write_request(&request, "command-a-03-2025").unwrap()).unwrap();
        assert!(sent.contains(schema), "{sent}");
    }
}

#[test]
fn thinking_is_asked_for_only_of_models_that_can() {
    let thinking = |fields: &str, model| written(&with(fields), Format::CohereV2, model).unwrap()["thinking"].clone();
    let reasoning = "command-a-reasoning-08-2025";
    assert_eq!(thinking(r#""reasoning_effort":"high""#, reasoning), json!({ "type": "enabled" }));
    assert_eq!(thinking(r#""reasoning_effort":"low""#, reasoning), json!({ "type": "enabled", "token_budget": 1024 }));
    assert_eq!(thinking(r#""reasoning_effort":"none""#, reasoning), json!({ "type": "disabled" }));
    let own = r#""thinking":{"type":"enabled","token_budget":500}"#;
    assert_eq!(thinking(own, reasoning), json!({ "type": "enabled", "token_budget": 500 }));
    assert_eq!(thinking(r#""reasoning":{"max_tokens":0}"#, reasoning), json!({ "type": "disabled" }));
    assert_eq!(thinking(r#""temperature":0"#, reasoning), json!(null));
    for model in ["command-r7b-12-2024", "command-a-03-2025", "c4ai-aya-expanse-32b", "command"] {
        assert_eq!(thinking(own, model), json!(null), "{model}");
    }
}

#[test]
fn a_model_that_does_not_think_is_not_shown_thoughts() {
    let body = said_by(
        r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"hm"},
            {"role":"assistant","reasoning_content":"only that"},{"role":"user","content":" "},{"role":"user","content":"c"}]"#,
    );
    let sent = written(&body, Format::CohereV2, "command-r-08-2024").unwrap();
    let expected = json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": "b" },
        { "role": "user", "content": "c" },
    ]);
    assert_eq!(sent["messages"], expected);
}

#[test]
fn system_text_alone_is_the_message_of_version_1() {
    let body = said_by(r#"[{"role":"system","content":"say hello"}]"#);
    let sent = written(&body, Format::CohereV1, "command-r").unwrap();
    assert_eq!((&sent["message"], sent.get("preamble")), (&json!("say hello"), None));
}
