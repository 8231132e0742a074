//! Requests and answers of any kind, within what the hub promises of them.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use uni_api::canon::{
    Block, CacheHint, ChatEvent, ChatRequest, Content, FinishReason, Function, Issuer, ResponseFormat, Role, Sampling,
    Signature, Source, Tool, ToolCall, ToolChoice, ToolResult, Turn, Usage,
};
use uni_api::dialect::json::raw;

use crate::exchange::{Answer, Call, Counts, Piece, Proof};

/// Any text that says something.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![4 => "\\PC{0,12}[a-zé漢]", 1 => "[\\\\\"\u{0}-\u{1f}\u{2028}😀{}\\[\\]: ]{0,6}x\\PC{0,4}"]
}

/// Any text at all, sometimes none.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![8 => words(), 1 => "[ \n\t]{0,3}"]
}

fn opaque() -> impl Strategy<Value = String> {
    "[A-Za-z0-9+/]{8,30}={0,2}"
}

fn json_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i16>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        text().prop_map(Value::from),
    ];
    let any_json = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((words(), inner), 0..3).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    vec((words(), any_json), 0..3).prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn encoded(media_type: &'static str, beginning: &'static [u8]) -> impl Strategy<Value = Source<'static>> {
    vec(any::<u8>(), 0..20).prop_map(move |rest| Source::Base64 {
        media_type: media_type.into(),
        data: BASE64_STANDARD.encode([beginning, &rest].concat()).into(),
    })
}

fn address() -> impl Strategy<Value = Source<'static>> {
    "https://[a-z]{1,8}\\.example/[a-z?=&%0-9]{0,12}".prop_map(|url| Source::Url(url.into()))
}

fn image() -> impl Strategy<Value = Content<'static>> {
    let source = prop_oneof![
        encoded("image/png", b"\x89PNG\r\n\x1a\n"),
        encoded("image/jpeg", b"\xff\xd8\xff"),
        encoded("image/gif", b"GIF89a"),
        address(),
    ];
    source.prop_map(|source| Content::Image { source, detail: None })
}

fn document() -> impl Strategy<Value = Content<'static>> {
    let plain = |text: String| Source::Base64 {
        media_type: "text/plain".into(),
        data: BASE64_STANDARD.encode(text.as_bytes()).into(),
    };
    let source = prop_oneof![encoded("application/pdf", b"%PDF-1.7"), words().prop_map(plain), address()];
    let name = option::of("[a-z]{1,8}\\.(pdf|txt)".prop_map(Cow::Owned));
    (source, name).prop_map(|(source, name)| Content::File { source, name })
}

fn hint() -> impl Strategy<Value = Option<CacheHint<'static>>> {
    let ttl = option::of(prop_oneof![Just("5m".into()), Just("1h".into())]);
    option::weighted(0.1, ttl.prop_map(|ttl| CacheHint { ttl }))
}

/// A piece of what a user or a tool says. An empty text has no place for a hint.
fn shown() -> impl Strategy<Value = Block<'static>> {
    let content = prop_oneof![
        6 => words().prop_map(|text| Content::Text(text.into())),
        2 => image(),
        1 => document(),
    ];
    let blank = "[ \n\t]{0,3}".prop_map(|text| Content::Text(text.into()).into());
    prop_oneof![9 => (content, hint()).prop_map(|(content, cache)| Block { content, cache }), 1 => blank]
}

fn said() -> impl Strategy<Value = Block<'static>> {
    text().prop_map(Block::text)
}

fn signature() -> impl Strategy<Value = Signature<'static>> {
    (issuer(), opaque()).prop_map(|(issuer, value)| Signature { issuer, value: value.into() })
}

fn thought() -> impl Strategy<Value = Block<'static>> {
    prop_oneof![
        4 => (text(), option::of(signature())).prop_map(|(text, signature)| {
            Content::Thinking { text: text.into(), signature }.into()
        }),
        1 => signature().prop_map(|signature| Content::RedactedThinking(signature).into()),
    ]
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![4 => json_object().prop_map(|object| object.to_string()), 1 => Just(String::new())]
}

/// A call without its id, and its result.
fn called() -> impl Strategy<Value = (ToolCall<'static>, ToolResult<'static>)> {
    let google = opaque().prop_map(|value| Signature { issuer: Issuer::Google, value: value.into() });
    let call = ("[a-z_]{1,10}", arguments(), option::weighted(0.3, google));
    (call, vec(shown(), 0..3), any::<bool>()).prop_map(|((name, arguments, signature), parts, is_error)| {
        let name: Cow<'static, str> = name.into();
        let call = ToolCall { id: "".into(), name: name.clone(), arguments: arguments.into(), signature };
        (call, ToolResult { call_id: "".into(), name: Some(name), parts, is_error })
    })
}

type Step =
    (Vec<Block<'static>>, Vec<Block<'static>>, Vec<Block<'static>>, Vec<(ToolCall<'static>, ToolResult<'static>)>);

/// A user speaks, the model thinks, speaks and calls, the tools answer.
fn step() -> impl Strategy<Value = Step> {
    let asked = (vec(shown(), 0..3), words()).prop_map(|(mut blocks, text)| {
        blocks.push(Block::text(text));
        blocks
    });
    (asked, vec(thought(), 0..3), vec(said(), 0..3), vec(called(), 0..4))
}

fn turns() -> impl Strategy<Value = Vec<Turn<'static>>> {
    (vec(step(), 0..4), words(), any::<bool>(), any::<bool>()).prop_map(|(steps, last, apart, reversed)| {
        let mut turns = Vec::new();
        let mut number = 0;
        for (asked, mut answered, texts, calls) in steps {
            turns.push(Turn { role: Role::User, blocks: asked });
            answered.extend(texts);
            let mut results = Vec::new();
            for (call, result) in calls {
                number += 1;
                let id: Cow<'static, str> = format!("call_{number}").into();
                answered.push(Content::ToolCall(ToolCall { id: id.clone(), ..call }).into());
                results.push(Content::ToolResult(ToolResult { call_id: id, ..result }).into());
            }
            turns.push(Turn { role: Role::Assistant, blocks: answered });
            if reversed {
                results.reverse();
            }
            if apart {
                turns.extend(results.into_iter().map(|result| Turn { role: Role::User, blocks: vec![result] }));
            } else {
                turns.push(Turn { role: Role::User, blocks: results });
            }
        }
        turns.push(Turn { role: Role::User, blocks: vec![Block::text(last)] });
        turns
    })
}

fn schema() -> impl Strategy<Value = Value> {
    vec(("[a-z]{1,6}", prop_oneof![Just("string"), Just("integer"), Just("boolean")], words()), 0..4).prop_map(
        |fields| {
            let mut schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
            for (name, kind, description) in fields {
                schema["properties"][name] = json!({ "type": kind, "description": description });
            }
            schema["required"] = schema["properties"].as_object().unwrap().keys().cloned().collect();
            schema
        },
    )
}

fn function(number: usize) -> impl Strategy<Value = Function<'static>> {
    (option::of(words()), option::of(schema()), hint()).prop_map(move |(description, parameters, cache)| Function {
        name: format!("tool_{number}").into(),
        description: description.map(Cow::Owned),
        parameters: parameters.map(|schema| raw(&schema)),
        strict: None,
        cache,
    })
}

fn tools() -> impl Strategy<Value = Vec<Tool<'static>>> {
    let tool = |number| function(number).prop_map(Tool::Function);
    (0..4usize, (tool(0), tool(1), tool(2)))
        .prop_map(|(count, (a, b, c))| vec![a, b, c].into_iter().take(count).collect())
}

fn tool_choice() -> impl Strategy<Value = ToolChoice<'static>> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        Just(ToolChoice::Function("tool_0".into())),
        any::<bool>().prop_map(|required| ToolChoice::Allowed { required, names: vec!["tool_0".into()] }),
    ]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let tenths = |range: std::ops::RangeInclusive<i32>| option::of(range.prop_map(|tenths| f64::from(tenths) / 10.0));
    let numbers = (option::of(1..100u64), option::of(1..5000u64), option::of(any::<i32>()));
    (tenths(0..=20), tenths(1..=10), tenths(-20..=20), tenths(-20..=20), numbers).prop_map(
        |(temperature, top_p, presence_penalty, frequency_penalty, (top_k, max_tokens, seed))| Sampling {
            temperature,
            top_p,
            top_k,
            max_tokens,
            presence_penalty,
            frequency_penalty,
            seed: seed.map(i64::from),
            ..Sampling::default()
        },
    )
}

fn response_format() -> impl Strategy<Value = ResponseFormat<'static>> {
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        (schema(), option::of(words())).prop_map(|(schema, description)| ResponseFormat::JsonSchema {
            name: "answer".into(),
            description: description.map(Cow::Owned),
            schema: Some(raw(&schema)),
            strict: Some(true),
        }),
    ]
}

/// A request that a client could have made: it begins and ends with the user, and every call has its result.
pub fn request() -> impl Strategy<Value = ChatRequest<'static>> {
    let system = vec((words(), hint()), 0..3).prop_map(|texts| {
        texts.into_iter().map(|(text, cache)| Block { cache, ..Block::text(text) }).collect::<Vec<_>>()
    });
    let tools = (tools(), option::of(tool_choice()), option::of(any::<bool>()));
    let form = (vec(text(), 0..4), option::of(response_format()), option::of(words()), any::<bool>());
    (system, turns(), tools, sampling(), form).prop_map(|(system, turns, tools, sampling, form)| {
        let (tools, tool_choice, parallel_tool_calls) = tools;
        let (stop, response_format, user, stream) = form;
        ChatRequest {
            system,
            turns,
            tool_choice: tool_choice.filter(|_| !tools.is_empty()),
            tools,
            parallel_tool_calls,
            sampling,
            stop: stop.into_iter().map(Cow::Owned).collect(),
            response_format,
            reasoning: None,
            stream,
            user: user.map(Cow::Owned),
            extra: Vec::new(),
        }
    })
}

fn counts() -> impl Strategy<Value = Counts> {
    let count = || 0..100_000i64;
    (count(), count(), option::of(count()), option::of(count()), option::of(count())).prop_map(
        |(fresh, completion, cached, cache_written, reasoning)| {
            let prompt = fresh + cached.unwrap_or(0) + cache_written.unwrap_or(0);
            let completion = completion + reasoning.unwrap_or(0);
            Counts { prompt, completion, total: prompt + completion, cached, cache_written, reasoning }
        },
    )
}

/// An answer that a model could give, with proofs of any issuer.
pub fn answer() -> impl Strategy<Value = Answer> {
    let proof = || opaque().prop_map(|value| Proof::new("", &value));
    let thought = (text(), proof()).prop_map(|(text, proof)| Piece::Thought { text, proof: Some(proof) });
    let proofs = vec(prop_oneof![3 => thought, 1 => proof().prop_map(Piece::Redacted)], 0..3);
    let call = ("[a-z_]{1,10}", json_object(), option::of(proof()));
    let cited = vec(("https://[a-z]{1,8}\\.example/", option::of(words())), 0..2);
    let finish = prop_oneof![Just("stop"), Just("length"), Just("content_filter")];
    (text(), proofs, vec(call, 0..4), cited, finish, counts()).prop_map(
        |(text, proofs, calls, citations, finish, usage)| {
            let calls = calls.into_iter().enumerate();
            let calls = calls.map(|(number, (name, arguments, proof))| Call {
                id: format!("call_{number}"),
                name,
                arguments,
                proof,
            });
            let calls: Vec<_> = calls.collect();
            let finish = if calls.is_empty() { finish } else { "tool_calls" }.to_owned();
            let (refusal, thinking, usage) = (String::new(), String::new(), Some(usage));
            Answer { text, refusal, thinking, proofs, calls, citations, finish, usage }
        },
    )
}

fn issuer() -> impl Strategy<Value = Issuer> {
    prop_oneof![Just(Issuer::Anthropic), Just(Issuer::Google), Just(Issuer::Other)]
}

/// Any events that an answer may be made of, all from one provider.
pub fn events() -> impl Strategy<Value = Vec<ChatEvent<'static>>> {
    let texts = |event: fn(Cow<'static, str>) -> ChatEvent<'static>| {
        vec(text(), 1..4).prop_map(move |texts| texts.into_iter().map(|text| event(text.into())).collect::<Vec<_>>())
    };
    let thought = |text: Cow<'static, str>| ChatEvent::Thinking { text, issuer: None };
    let call = ("[a-z_]{1,10}", option::of(signature()), json_object(), 1..9usize, any::<bool>());
    let call = call.prop_map(|(name, signature, arguments, length, none)| {
        let mut events = vec![ChatEvent::ToolCall { id: "".into(), name: name.into(), signature }];
        let arguments: Vec<char> = arguments.to_string().chars().collect();
        let pieces =
            arguments.chunks(length).map(|piece| ChatEvent::ToolArguments(piece.iter().collect::<String>().into()));
        events.extend(pieces.filter(|_| !none));
        events
    });
    let cited = ("https://[a-z]{1,8}\\.example/", option::of(words()));
    // Some servers give a reason with every event.
    let finish = || {
        prop_oneof![
            Just(FinishReason::Stop),
            Just(FinishReason::Length),
            Just(FinishReason::ToolCalls),
            Just(FinishReason::ContentFilter),
        ]
    };
    let segment = prop_oneof![
        1 => finish().prop_map(|reason| vec![ChatEvent::Finish(reason)]),
        4 => texts(ChatEvent::Text),
        1 => texts(ChatEvent::Refusal),
        2 => texts(thought),
        2 => signature().prop_map(|signature| vec![ChatEvent::Signature(signature)]),
        1 => signature().prop_map(|signature| vec![ChatEvent::RedactedThinking(signature)]),
        4 => call,
        1 => cited.prop_map(|(url, title)| vec![ChatEvent::Citation { url: url.into(), title: title.map(Cow::Owned) }]),
        1 => encoded("image/png", b"\x89PNG").prop_map(|source| vec![ChatEvent::Image(source)]),
        1 => counts().prop_map(|counts| vec![usage(counts)]),
    ];
    (vec(segment, 0..6), finish(), option::of(counts()), option::of(issuer())).prop_map(
        |(segments, finish, counts, by)| {
            let mut events: Vec<_> = segments.concat();
            // Who signs nothing has thoughts without an issuer.
            events.retain(|event| {
                by.is_some() || !matches!(event, ChatEvent::Signature(_) | ChatEvent::RedactedThinking(_))
            });
            for event in &mut events {
                match (event, by) {
                    (ChatEvent::Thinking { issuer, .. }, by) => *issuer = by,
                    (ChatEvent::Signature(own) | ChatEvent::RedactedThinking(own), Some(by)) => own.issuer = by,
                    _ => {}
                }
            }
            let calls = events.iter_mut().filter_map(|event| match event {
                ChatEvent::ToolCall { id, .. } => Some(id),
                _ => None,
            });
            calls.enumerate().for_each(|(number, id)| *id = format!("call_{number}").into());
            events.push(ChatEvent::Finish(finish));
            events.extend(counts.map(usage));
            events
        },
    )
}

fn usage(counts: Counts) -> ChatEvent<'static> {
    ChatEvent::Usage(Usage {
        prompt_tokens: Some(counts.prompt),
        completion_tokens: Some(counts.completion),
        total_tokens: Some(counts.total),
        cached_tokens: counts.cached,
        cache_creation_tokens: counts.cache_written,
        reasoning_tokens: counts.reasoning,
    })
}
