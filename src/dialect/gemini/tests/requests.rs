use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::canon::{Failure, FailureKind};
use crate::dialect::Format;
use crate::dialect::gemini::Host;
use crate::dialect::openai_chat::read_request;

const AGENT: &str = include_str!("fixtures/agent.json");
const FLASH_2_5: &str = "gemini-2.5-flash";
const FLASH_3: &str = "gemini-3-flash-preview";

/// What a client's request becomes.
fn written_for(body: &str, host: Host, model: &str) -> Result<Value, Failure> {
    let request = read_request(body)?;
    Ok(serde_json::from_slice(&Format::Gemini(host).write_request(&request, model)?).unwrap())
}

fn written(body: &str, model: &str) -> Value {
    written_for(body, Host::AiStudio, model).unwrap()
}

/// A request with one user message and these fields.
fn with(fields: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{fields}}}"#)
}

fn config(fields: &str, model: &str) -> Value {
    written(&with(fields), model)["generationConfig"].clone()
}

fn said(messages: &Value) -> String {
    json!({ "model": "m", "messages": messages }).to_string()
}

/// The field at fault of what this format cannot say.
fn refused(body: &str, host: Host, model: &str) -> Option<String> {
    let failure = written_for(body, host, model).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Untranslatable, "{body}");
    failure.param.map(|param| param.into_owned())
}

const TOOL: &str = r#"{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}}"#;
const OTHER_TOOL: &str = r#"{"type":"function","function":{"name":"g"}}"#;

#[test]
fn an_agents_conversation_for_generation_2() {
    assert_json_snapshot!(written(AGENT, FLASH_2_5));
}

#[test]
fn an_agents_conversation_for_generation_3() {
    assert_json_snapshot!(written(AGENT, FLASH_3));
}

#[test]
fn an_agents_conversation_for_vertex() {
    assert_json_snapshot!(written_for(AGENT, Host::Vertex, FLASH_2_5).unwrap());
}

#[test]
fn no_limit_of_the_answer_is_invented() {
    assert_eq!(config(r#""temperature":1"#, FLASH_2_5), json!({"temperature": 1.0}));
    assert_eq!(config(r#""max_tokens":5"#, FLASH_2_5), json!({"maxOutputTokens": 5}));
}

#[test]
fn sampling_stands_in_generation_config() {
    assert_eq!(config(r#""stop":"END""#, FLASH_2_5), json!({"stopSequences": ["END"]}));
    assert_eq!(
        config(r#""logprobs":true,"top_logprobs":3"#, FLASH_2_5),
        json!({"responseLogprobs": true, "logprobs": 3})
    );
    assert_eq!(config(r#""logprobs":false,"top_logprobs":3"#, FLASH_2_5), json!({}));
    assert_eq!(config(r#""seed":-7"#, FLASH_2_5), json!({"seed": -7}));
    assert!(config(r#""seed":9007199254740993"#, FLASH_2_5)["seed"].as_i64().unwrap() <= i64::from(i32::MAX));
    assert_eq!(config(r#""modalities":["image","text"]"#, FLASH_2_5), json!({"responseModalities": ["TEXT", "IMAGE"]}));
    assert_eq!(config(r#""modalities":["text"]"#, FLASH_2_5), json!({}));
    let wide = json!({"aspect_ratio": "16:9"});
    assert_eq!(config(r#""image_config":{"aspect_ratio":"16:9"}"#, FLASH_2_5), json!({"imageConfig": wide}));
    // The newest models draw tokens by themselves and refuse to be told how.
    let all = r#""temperature":1,"top_p":0.5,"top_k":3,"presence_penalty":1,"frequency_penalty":1,"max_tokens":9"#;
    assert_eq!(config(all, "gemini-3.8-flash"), json!({"maxOutputTokens": 9}));
}

#[test]
fn what_the_format_cannot_say_is_refused() {
    let here = |body: &str| refused(body, Host::AiStudio, FLASH_2_5);
    assert_eq!(here(&with(r#""n":2"#)).as_deref(), Some("n"));
    assert_eq!(here(&with(r#""stop":["1","2","3","4","5","6"]"#)).as_deref(), Some("stop"));
    assert_eq!(
        here(&with(r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#)).as_deref(),
        Some("tools")
    );
    let orphan = said(&json!([{"role": "tool", "tool_call_id": "gone", "content": "x"}]));
    assert_eq!(here(&orphan).as_deref(), Some("messages"));
    let with_tool = with(&format!(r#""tools":[{TOOL}]"#));
    assert_eq!(refused(&with_tool, Host::AiStudioV1, FLASH_2_5).as_deref(), Some("tools"));
    assert_eq!(refused(&with_tool, Host::AiStudio, "gemma-3-27b-it").as_deref(), Some("tools"));
}

#[test]
fn the_plain_version_of_the_api_hears_the_system_from_the_user() {
    let body = r#"{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"hi"},
        {"role":"assistant","content":"hello"},{"role":"user","content":"why?"}],
        "response_format":{"type":"json_object"},"reasoning_effort":"high","service_tier":"flex"}"#;
    let sent = written_for(body, Host::AiStudioV1, FLASH_2_5).unwrap();
    let first =
        json!([{"text": "Be brief."}, {"text": "Answer with one JSON object and nothing else."}, {"text": "hi"}]);
    assert_eq!(sent["contents"][0]["parts"], first);
    assert_eq!(sent["contents"].as_array().unwrap().len(), 3);
    let fields: Vec<_> = sent.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["contents", "generationConfig", "safetySettings"]);
    assert_eq!(sent["generationConfig"], json!({}));
    assert_eq!(sent["safetySettings"].as_array().unwrap().len(), 4);
}

#[test]
fn a_conversation_begins_with_the_user() {
    let alone = written(&said(&json!([{"role": "system", "content": "Say hi."}])), FLASH_2_5);
    assert_eq!(alone["contents"], json!([{"role": "user", "parts": [{"text": "Say hi."}]}]));
    assert_eq!(alone["systemInstruction"], Value::Null);
    let begun = written(&said(&json!([{"role": "assistant", "content": "Once"}])), FLASH_2_5);
    let expected = json!([{"role": "user", "parts": [{"text": "."}]}, {"role": "model", "parts": [{"text": "Once"}]}]);
    assert_eq!(begun["contents"], expected);
}

#[test]
fn the_choice_of_tools_is_a_mode() {
    let choose = |choice: &str| {
        let sent = written(&with(&format!(r#""tools":[{TOOL},{OTHER_TOOL}],"tool_choice":{choice}"#)), FLASH_2_5);
        let names: Vec<_> = sent["tools"][0]["functionDeclarations"].as_array().unwrap().iter().collect();
        (sent["toolConfig"]["functionCallingConfig"].clone(), names.len())
    };
    assert_eq!(choose(r#""auto""#), (json!({"mode": "AUTO"}), 2));
    assert_eq!(choose(r#""none""#), (json!({"mode": "NONE"}), 2));
    assert_eq!(choose(r#""required""#), (json!({"mode": "ANY"}), 2));
    let one = json!({"mode": "ANY", "allowedFunctionNames": ["g"]});
    assert_eq!(choose(r#"{"type":"function","function":{"name":"g"}}"#), (one.clone(), 2));
    let allowed = |mode: &str| {
        format!(
            r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"{mode}","tools":[{{"type":"function","function":{{"name":"g"}}}}]}}}}"#
        )
    };
    assert_eq!(choose(&allowed("required")), (one, 2));
    assert_eq!(choose(&allowed("auto")), (json!({"mode": "AUTO"}), 1));
    let without = written(&with(r#""tool_choice":"required""#), FLASH_2_5);
    assert_eq!(without["toolConfig"], Value::Null);
}

#[test]
fn googles_own_tools_pass() {
    let own = r#"{"googleSearch":{}},{"google_search":{}},{"codeExecution":{}},{"urlContext":{}}"#;
    let sent = written(&with(&format!(r#""tools":[{own}]"#)), FLASH_3);
    assert_eq!(sent["tools"], serde_json::from_str::<Value>(&format!("[{own}]")).unwrap());
    assert_eq!(sent["toolConfig"], Value::Null);
    let mixed = with(&format!(r#""tools":[{TOOL},{{"googleSearch":{{}}}}],"tool_choice":"auto""#));
    let sent = written(&mixed, FLASH_3);
    assert_eq!(sent["tools"].as_array().unwrap().len(), 2);
    assert_eq!(sent["toolConfig"], json!({"includeServerSideToolInvocations": true}));
    let sent = written_for(&mixed, Host::Vertex, FLASH_3).unwrap();
    assert_eq!(sent["toolConfig"], json!({"functionCallingConfig": {"mode": "AUTO"}}));
}

#[test]
fn the_form_of_the_answer_is_what_the_model_takes() {
    let schema = r#"{"type":"object","properties":{"a":{"type":["string","null"]}},"required":["a"],"additionalProperties":false,"title":"A"}"#;
    let wanted =
        format!(r#""response_format":{{"type":"json_schema","json_schema":{{"name":"a","schema":{schema}}}}}"#);
    let json_schema = json!({
        "type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"],
        "additionalProperties": false,
    });
    let newer = json!({"responseMimeType": "application/json", "responseJsonSchema": json_schema});
    assert_eq!(config(&wanted, FLASH_2_5), newer);
    let openapi =
        json!({"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": true}}, "required": ["a"]});
    let older = json!({"responseMimeType": "application/json", "responseSchema": openapi});
    assert_eq!(config(&wanted, "gemini-2.0-flash"), older);
    let any = json!({"responseMimeType": "application/json"});
    assert_eq!(config(r#""response_format":{"type":"json_object"}"#, FLASH_2_5), any);
    assert_eq!(config(r#""response_format":{"type":"text"}"#, FLASH_2_5), json!({}));
    // Until generation 3, a model with tools has to be asked.
    let with_tool = format!(r#"{wanted},"tools":[{TOOL}]"#);
    let asked = written(&with(&with_tool), FLASH_2_5);
    assert_eq!(asked["generationConfig"], json!({}));
    let instruction = asked["systemInstruction"]["parts"][0]["text"].as_str().unwrap();
    assert!(instruction.ends_with(schema), "{instruction}");
    assert_eq!(config(&with_tool, FLASH_3), newer);
}

#[test]
fn a_client_may_say_what_only_google_knows() {
    let settings = r#"[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_LOW_AND_ABOVE"}]"#;
    for name in ["safety_settings", "safetySettings"] {
        let sent = written(&with(&format!(r#""{name}":{settings}"#)), FLASH_2_5);
        assert_eq!(sent["safetySettings"], serde_json::from_str::<Value>(settings).unwrap());
    }
    let extra = r#""labels":{"team":"a"},"cached_content":"cachedContents/1","unknown":1,"service_tier":"default""#;
    let sent = written(&with(extra), FLASH_2_5);
    assert_eq!(sent["cachedContent"], "cachedContents/1");
    assert_eq!(sent["serviceTier"], "standard");
    assert!(sent.get("labels").is_none() && sent.get("unknown").is_none());
    let sent = written_for(&with(extra), Host::Vertex, FLASH_2_5).unwrap();
    assert_eq!(sent["labels"], json!({"team": "a"}));
    assert!(sent.get("serviceTier").is_none());
    let own = r#""reasoning_effort":"low","extra_body":{"google":{"cached_content":"c/2","thinking_config":{"thinking_budget":-1}}}"#;
    let sent = written(&with(own), FLASH_2_5);
    assert_eq!(sent["generationConfig"]["thinkingConfig"], json!({"thinking_budget": -1}));
    assert_eq!(sent["cachedContent"], "c/2");
}

#[test]
fn filters_are_as_open_as_they_get() {
    let thresholds = |host, model| {
        let sent = written_for(&with(r#""seed":1"#), host, model).unwrap();
        let settings = sent["safetySettings"].as_array().unwrap().clone();
        (settings.len(), settings[0]["threshold"].clone())
    };
    assert_eq!(thresholds(Host::AiStudio, "gemini-2.0-flash"), (5, json!("BLOCK_NONE")));
    assert_eq!(thresholds(Host::AiStudio, FLASH_2_5), (5, json!("OFF")));
    assert_eq!(thresholds(Host::Vertex, FLASH_3), (4, json!("OFF")));
}

/// A call, and its result with an image and this media type.
fn with_image(media_type: &str, data: &str) -> String {
    said(&json!([
        {"role": "user", "content": "look"},
        {"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "camera", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c", "content": [
            {"type": "image_url", "image_url": {"url": format!("data:{media_type};base64,{data}")}},
        ]},
        {"role": "user", "content": "what is it?"},
    ]))
}

#[test]
fn an_image_of_a_result_stands_in_it_or_behind_it() {
    let body = with_image("image/png", "iVBORw0KGgo=");
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}});
    let inside = json!([
        {"functionResponse": {"id": "c", "name": "camera", "response": {}, "parts": [image]}},
        {"text": "what is it?"},
    ]);
    assert_eq!(written(&body, FLASH_3)["contents"][2]["parts"], inside);
    let behind = json!([
        {"functionResponse": {"id": "c", "name": "camera", "response": {"result": "See the attached file."}}},
        image,
        {"text": "what is it?"},
    ]);
    assert_eq!(written(&body, FLASH_2_5)["contents"][2]["parts"], behind);
    let gif = written(&with_image("image/gif", "R0lGODlh"), FLASH_3);
    assert_eq!(gif["contents"][2]["parts"][1]["inlineData"]["mimeType"], "image/gif");
}

#[test]
fn images_sounds_and_documents_are_bytes_or_addresses() {
    let sent = written(
        &said(&json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "gs://bucket/cat.webp"}},
            {"type": "image_url", "image_url": {"url": "https://youtu.be/abc"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        ]}])),
        FLASH_2_5,
    );
    let expected = json!([
        {"fileData": {"mimeType": "image/webp", "fileUri": "gs://bucket/cat.webp"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/abc"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
    ]);
    assert_eq!(sent["contents"][0]["parts"], expected);
}

#[test]
fn formats_say_which_addresses_their_upstream_takes() {
    use crate::dialect::anthropic::Host as AnthropicHost;
    let (video, page) = ("https://youtu.be/abc", "https://example.com/cat.png");
    let takes = |format: Format| (format.takes_url(video), format.takes_url(page));
    assert_eq!(takes(Format::Gemini(Host::AiStudio)), (true, false));
    assert_eq!(takes(Format::Gemini(Host::Vertex)), (true, false));
    assert_eq!(takes(Format::Anthropic(AnthropicHost::Anthropic)), (true, true));
    assert_eq!(takes(Format::Anthropic(AnthropicHost::Vertex)), (false, false));
}

#[test]
fn only_googles_signatures_are_sent() {
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello", "reasoning_details": [
            {"type": "reasoning.text", "text": "of Claude", "signature": "claude", "format": "anthropic-claude-v1", "index": 0},
            {"type": "reasoning.text", "text": "of Gemini", "signature": "Z2VtaW5p", "format": "google-gemini-v1", "index": 1},
            {"type": "reasoning.encrypted", "data": "b3BlbmFp", "format": "openai-responses-v1", "index": 2},
        ]},
        {"role": "user", "content": "and?"},
    ]);
    let expected = json!([
        {"text": "of Gemini", "thought": true, "thoughtSignature": "Z2VtaW5p"},
        {"text": "hello"},
    ]);
    assert_eq!(written(&said(&messages), FLASH_3)["contents"][1]["parts"], expected);
}

#[test]
fn a_call_of_another_model_says_that_it_is_not_signed() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "first"},
        {"role": "assistant", "tool_calls": [call("1")]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "tool_calls": [call("2"), call("3")]},
        {"role": "tool", "tool_call_id": "2", "content": "x"},
        {"role": "tool", "tool_call_id": "3", "content": "x"},
        {"role": "assistant", "tool_calls": [call("4")]},
        {"role": "tool", "tool_call_id": "4", "content": "x"},
    ]);
    let signatures = |model: &str| -> Vec<Value> {
        let sent = written(&said(&messages), model);
        let parts =
            sent["contents"].as_array().unwrap().iter().flat_map(|content| content["parts"].as_array().unwrap());
        parts.filter(|part| part["functionCall"].is_object()).map(|part| part["thoughtSignature"].clone()).collect()
    };
    let none = json!("skip_thought_signature_validator");
    assert_eq!(signatures(FLASH_3), [Value::Null, none.clone(), Value::Null, none]);
    assert_eq!(signatures(FLASH_2_5), vec![Value::Null; 4]);
}

#[test]
fn ten_turns_of_three_calls_keep_their_ids_and_order() {
    let mut messages = vec![json!({"role": "user", "content": "go"})];
    for turn in 0..10 {
        let id = |number: usize| format!("call_{turn}_{number}");
        let call = |number: usize| json!({"id": id(number), "type": "function", "function": {"name": format!("f{number}"), "arguments": format!("{{\"n\":{turn}}}")}});
        messages.push(json!({"role": "assistant", "tool_calls": [call(0), call(1), call(2)]}));
        for number in [2, 0, 1] {
            messages.push(json!({"role": "tool", "tool_call_id": id(number), "content": format!("r{turn}{number}")}));
        }
    }
    let sent = written(&said(&messages.into()), FLASH_3);
    let contents = sent["contents"].as_array().unwrap();
    assert_eq!(contents.len(), 21);
    for turn in 0..10 {
        let (calls, results) = (&contents[1 + 2 * turn], &contents[2 + 2 * turn]);
        assert_eq!((&calls["role"], &results["role"]), (&json!("model"), &json!("user")));
        for number in 0..3 {
            let (call, result) =
                (&calls["parts"][number]["functionCall"], &results["parts"][number]["functionResponse"]);
            let id = format!("call_{turn}_{number}");
            assert_eq!(*call, json!({"id": id, "name": format!("f{number}"), "args": {"n": turn}}));
            let response = json!({"result": format!("r{turn}{number}")});
            assert_eq!(*result, json!({"id": id, "name": format!("f{number}"), "response": response}));
        }
    }
}
