//! `uni-api demo`: the real gateway in front of a provider of our own, and one question through it.
//!
//! Everything stays on this machine, and nothing is left on it.

mod ask;
mod provider;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use url::Url;

use super::signals::Endings;
use crate::app::{self, Settings};
use crate::config::{Config, Secret, TimeLimits, parse};
use crate::upstream::{InvalidTarget, Target};

use ask::Answer;
use provider::{DemoProvider, MODEL};

/// The name that clients use for the provider's model.
const ALIAS: &str = "demo";
const QUESTION: &str = "Is anybody there?";
/// The demonstration has failed when nothing happens for this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// As many ports are tried one after the other.
const PORTS: usize = 100;

/// How to demonstrate.
pub struct Options {
    /// Ends after the first answer.
    pub once: bool,
    /// Where the gateway listens, or on the next port that is free.
    pub port: u16,
    /// Between two words of the provider.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { once: false, port: 8000, pause: Duration::from_millis(30) }
    }
}

/// Demonstrates. Returns the exit code: 0 if the answer was whole.
///
/// # Errors
///
/// Nothing could be started, or `out` cannot be written.
pub fn run(options: &Options, out: &mut dyn Write) -> io::Result<u8> {
    actix_web::rt::System::new().block_on(demonstrate(options, out))
}

async fn demonstrate(options: &Options, out: &mut dyn Write) -> io::Result<u8> {
    let provider = DemoProvider::start(options.pause)?;
    let key = Secret::new(format!("sk-demo-{}", uuid::Uuid::new_v4().simple()));
    let settings =
        Settings { listen: vec![free_address(options.port)], database: None, workers: Some(2), open_files: None };
    let gateway = app::start(configuration(provider.address, &key)?, settings)?;
    let address = gateway.addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let chat = format!("http://{address}/v1/chat/completions");

    writeln!(out, "provider  http://{}/v1  says what it heard", provider.address)?;
    writeln!(out, "gateway   http://{address}/v1  in front of it, with a random client key\n")?;
    let is_whole = converse(&chat, &key, out).await?;
    if is_whole && !options.once {
        let body = format!(r#"{{"model":"{ALIAS}","stream":true,"messages":[{{"role":"user","content":"Hello!"}}]}}"#);
        let headers = format!("-H 'Authorization: Bearer {}' -H 'Content-Type: application/json'", key.expose());
        writeln!(out, "\nNow you, until Ctrl-C:\n\ncurl -N {chat} {headers} -d '{body}'")?;
        out.flush()?;
        Endings::listen()?.next().await;
        gateway.drain(Duration::ZERO).await;
    } else {
        gateway.stop().await;
    }
    provider.stop().await;
    Ok(if is_whole { 0 } else { 1 })
}

/// Asks the question, and says what came of it. True if the answer was whole.
async fn converse(chat: &str, key: &Secret, out: &mut dyn Write) -> io::Result<bool> {
    let target = Url::parse(chat).map_err(|_| InvalidTarget::Url).and_then(|url| Target::at(url, Some(key)));
    let target = target.map_err(io::Error::other)?;
    writeln!(out, "you     {QUESTION}")?;
    write!(out, "{ALIAS}    ")?;
    out.flush()?;
    let answer = ask::ask(&target, ALIAS, QUESTION, &TimeLimits::with_patience(PATIENCE), out).await;
    writeln!(out, "\n")?;
    let fault = match &answer {
        Ok(answer) => answer.fault(&provider::text(MODEL, QUESTION)).map(str::to_owned),
        Err(why) => Some(why.clone()),
    };
    match (&answer, fault) {
        (Ok(answer), None) => writeln!(out, "{}", summary(answer)).map(|()| true),
        (_, fault) => writeln!(out, "The answer is not whole: {}.", fault.unwrap_or_default()).map(|()| false),
    }
}

fn summary(answer: &Answer) -> String {
    let usage = answer.usage.unwrap_or_default();
    let [prompt, completion] = [usage.prompt_tokens, usage.completion_tokens].map(Option::unwrap_or_default);
    let first = answer.first_token.unwrap_or_default().as_millis();
    let total = answer.total.as_secs_f64();
    format!("First token after {first} ms, the whole answer after {total:.2} s. Tokens: {prompt} in, {completion} out.")
}

/// Read like any other configuration, so that what is shown is the real thing.
fn configuration(provider: SocketAddr, client_key: &Secret) -> io::Result<Config> {
    let text = format!(
        "providers:
  - provider: demo-provider
    base_url: http://{provider}/v1
    api: sk-of-the-provider
    model:
      - {MODEL}: {ALIAS}
api_keys:
  - api: {}
    preferences:
      RATE_LIMIT: 100000/min
",
        client_key.expose()
    );
    let loaded = parse(&text, "demo", &|_| None, PATIENCE);
    let why = || loaded.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    loaded.config.ok_or_else(|| io::Error::other(why()))
}

/// The first free port from `port` on; any free one if many are taken.
fn free_address(port: u16) -> SocketAddr {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (port..=u16::MAX)
        .take(PORTS)
        .map(local)
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap_or_else(|| local(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demonstration_shows_the_whole_answer_and_ends() {
        let mut out = Vec::new();
        let code = run(&Options { once: true, port: 0, pause: Duration::ZERO }, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(code, 0, "{out}");
        assert!(out.contains("You asked demo-model"), "{out}");
        assert!(out.contains("It heard: Is anybody there?\n"), "{out}");
        assert!(out.contains("Tokens: 3 in, 33 out."), "{out}");
        assert!(!out.contains("curl"), "{out}");
    }

    #[test]
    fn a_gateway_that_does_not_answer_fails_the_demonstration() {
        crate::upstream::install_crypto();
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let (chat, key) = (format!("http://{nobody}/v1/chat/completions"), Secret::new("sk-demo"));
        let mut out = Vec::new();
        let is_whole = actix_web::rt::System::new().block_on(converse(&chat, &key, &mut out)).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(!is_whole && out.contains("not whole: no connection"), "{out}");
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_address(port).port(), port);
    }
}
