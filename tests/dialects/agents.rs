//! Agents' traffic: ten turns with three calls each, whose conversation grows by what the gateway returned.

use serde_json::{Value, json};
use uni_api::canon::Role;

use crate::client::{Details, completion, plain};
use crate::exchange::{Answer, Call, Counts, Piece, Proof, Request, Turn};
use crate::native::{self, Native};
use crate::pipe::{answered, cut, sent, streamed};

const TURNS: usize = 10;

/// How an agent gets its answers and what it sends back of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agent {
    /// The whole message.
    Whole,
    /// The message that a stream adds up to.
    Streamed,
    /// The same, with the pieces of thoughts one behind the other.
    StreamedLists,
    /// OpenAI's own fields of it only.
    Forgetful,
}

const AGENTS: [Agent; 4] = [Agent::Whole, Agent::Streamed, Agent::StreamedLists, Agent::Forgetful];

/// What the model says in a turn.
fn thoughtful(turn: usize, native: &Native) -> Answer {
    let call = |number: usize| Call {
        id: format!("call_{turn}_{number}"),
        // Twice the same function.
        name: format!("look_{}", number % 2),
        arguments: json!({ "turn": turn, "number": number, "text": "\"é\\\n{}" }),
        proof: Some(Proof::new("", &format!("call+{turn}/{number}=="))),
    };
    let thought = |number: usize| Piece::Thought {
        text: format!("thought {turn}.{number}"),
        proof: Some(Proof::new("", &format!("thought+{turn}/{number}=="))),
    };
    let said = Answer {
        text: format!("Let me look, {turn}."),
        refusal: String::new(),
        thinking: String::new(),
        proofs: vec![thought(0), thought(1)],
        calls: vec![call(0), call(1), call(2)],
        citations: Vec::new(),
        finish: "tool_calls".to_owned(),
        usage: Some(Counts { prompt: 1, completion: 2, total: 3, ..Counts::default() }),
    };
    (native.given)(said)
}

/// The message that the agent adds to the conversation.
fn message(answer: &Answer, native: &Native, agent: Agent) -> Value {
    let whole = || answered(&(native.write_answer)(answer).to_string(), native.format).unwrap();
    let stream = |details| {
        let (bytes, failure) = streamed(cut(&(native.write_stream)(answer), [100, 333]), native.format);
        assert_eq!(failure, None);
        completion(&bytes, details)
    };
    let message = match agent {
        Agent::Whole => whole(),
        Agent::Streamed => stream(Details::Joined),
        Agent::StreamedLists => stream(Details::Listed),
        Agent::Forgetful => return plain(&whole()["choices"][0]["message"]),
    };
    message["choices"][0]["message"].clone()
}

/// An agent and all that was said to and by it.
struct Conversation {
    agent: Agent,
    messages: Vec<Value>,
    expected: Request,
}

impl Conversation {
    fn new(agent: Agent) -> Self {
        let mut conversation = Self { agent, messages: Vec::new(), expected: Request::default() };
        conversation.messages.push(json!({ "role": "system", "content": "Use the tools." }));
        conversation.expected.system.push(Piece::Text("Use the tools.".to_owned()));
        conversation.ask("Begin.");
        conversation
    }

    fn ask(&mut self, question: &str) {
        self.messages.push(json!({ "role": "user", "content": question }));
        self.expected.turns.push(Turn { role: Role::User, pieces: vec![Piece::Text(question.to_owned())] });
    }

    /// Sends all so far to a provider, and takes its answer and the results of its calls into the conversation.
    fn turn(&mut self, turn: usize, native: &Native) {
        let body = json!({ "model": "alias", "messages": self.messages, "stream": true });
        let written = sent(&body, native.format, native.model).unwrap();
        let mut got = (native.read_request)(&written).unwrap().arranged();
        let mut expected = (native.carried)(self.expected.clone()).unwrap().arranged();
        (got.settings, expected.settings) = Default::default();
        assert_eq!(got, expected, "{}, {:?}, turn {turn}: {written:#}", native.name, self.agent);

        let answer = thoughtful(turn, native);
        let message = message(&answer, native, self.agent);
        let calls = message["tool_calls"].as_array().unwrap();
        assert_eq!(calls.len(), 3);
        let ids: Vec<_> = calls.iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect();
        for id in &ids {
            let is_new = |piece: &Piece| !matches!(piece, Piece::Call(call) if call.id == *id);
            assert!(self.expected.turns.iter().flat_map(|turn| &turn.pieces).all(is_new), "{id} was there before");
        }
        self.messages.push(message);
        self.expect(answer, &ids);

        let mut results = Vec::new();
        // The tools do not always end in the order in which they were called.
        let mut ended: Vec<_> = ids.iter().enumerate().collect();
        ended.rotate_left(turn % 3);
        for (number, id) in ended {
            let result = format!("result {turn}.{number}");
            self.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": result }));
            results.push(Piece::Result { id: id.clone(), pieces: vec![Piece::Text(result)], is_error: false });
        }
        self.expected.turns.push(Turn { role: Role::User, pieces: results });
        if turn % 2 == 1 {
            self.ask(&format!("And now? {turn}"));
        }
    }

    /// What the provider has to be told of its answer from now on.
    fn expect(&mut self, answer: Answer, ids: &[String]) {
        let is_forgetful = self.agent == Agent::Forgetful;
        let mut pieces = answer.proofs;
        if pieces.is_empty() && !answer.thinking.is_empty() {
            pieces.push(Piece::Thought { text: answer.thinking, proof: None });
        }
        pieces.retain(|_| !is_forgetful);
        pieces.extend((!answer.text.is_empty()).then_some(Piece::Text(answer.text)));
        for (mut call, id) in answer.calls.into_iter().zip(ids) {
            call.id.clone_from(id);
            call.proof = call.proof.filter(|_| !is_forgetful);
            pieces.push(Piece::Call(call));
        }
        self.expected.turns.push(Turn { role: Role::Assistant, pieces });
    }
}

/// Every format that has tools.
fn natives() -> impl Iterator<Item = Native> {
    let call = Call { id: "1".to_owned(), name: "f".to_owned(), arguments: json!({}), proof: None };
    let called = Turn { role: Role::Assistant, pieces: vec![Piece::Call(call)] };
    native::all()
        .into_iter()
        .filter(move |native| (native.carried)(Request { turns: vec![called.clone()], ..Request::default() }).is_some())
}

#[test]
fn ten_turns_of_three_calls_keep_ids_order_and_signatures() {
    for native in natives() {
        for agent in AGENTS {
            let mut conversation = Conversation::new(agent);
            for turn in 0..TURNS {
                conversation.turn(turn, &native);
            }
        }
    }
}

#[test]
fn a_conversation_may_change_its_provider_and_come_back() {
    let mut natives: Vec<Native> = natives().collect();
    natives.dedup_by_key(|native| native.format);
    for native in &natives {
        for other in natives.iter().filter(|other| other.format != native.format) {
            for agent in [Agent::Whole, Agent::Forgetful] {
                let mut conversation = Conversation::new(agent);
                for turn in 0..TURNS {
                    conversation.turn(turn, if (3..6).contains(&turn) { other } else { native });
                }
            }
        }
    }
}
