use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use actix_tls::connect::Resolve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::install_crypto;

const GIF: &[u8] = b"GIF89a, or so";

/// A resolver that gives each look-up the next of these answers, the last one for all that follow.
#[derive(Clone)]
struct Names {
    answers: Rc<RefCell<Vec<Vec<IpAddr>>>>,
    asked: Rc<RefCell<Vec<String>>>,
}

impl Names {
    fn new<const N: usize>(answers: [&[&str]; N]) -> Self {
        let parsed = answers.map(|addresses| addresses.iter().map(|address| address.parse().unwrap()).collect());
        Self { answers: Rc::new(RefCell::new(parsed.into_iter().rev().collect())), asked: Rc::default() }
    }
}

impl Resolve for Names {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn std::error::Error>>> {
        self.asked.borrow_mut().push(host.to_owned());
        let mut answers = self.answers.borrow_mut();
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        let addresses = answer.unwrap().into_iter().map(|address| SocketAddr::new(address, port)).collect();
        async move { Ok(addresses) }.boxed_local()
    }
}

/// Runs a test on a thread like those of the gateway.
fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

async fn fetch_with(
    address: &str,
    names: &Names,
    admits: fn(IpAddr) -> bool,
    limits: &Limits,
) -> Result<Media, Failure> {
    install_crypto();
    let resolver = Resolver::custom(names.clone()).service();
    fetch(address, Guard { resolver, admits }, limits).await
}

/// A server at this address that takes one connection, reads a request and answers with `reply`;
/// then it waits for the client to go.
async fn serve_once(address: Ipv4Addr, reply: Vec<u8>) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].ends_with(b"\r\n\r\n"));
        stream.write_all(&reply).await.unwrap();
        let _ = stream.read(&mut request).await;
    });
    port
}

fn with_length(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

#[test]
fn a_name_with_one_private_address_is_refused() {
    run(async {
        for addresses in [
            &["10.0.0.1"][..],
            &["1.1.1.1", "192.168.0.1"],
            &["2606:4700::1111", "fd00::1"],
            &["1.1.1.1", "::ffff:169.254.169.254"],
        ] {
            let names = Names::new([addresses]);
            let failure = fetch_with("https://pictures.example/cat", &names, is_public, &LIMITS).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::MediaUnavailable);
            assert!(failure.message.contains("at pictures.example was not fetched: its host is not on"), "{failure:?}");
        }
    });
}

#[test]
fn the_address_that_was_checked_is_the_one_connected_to() {
    run(async {
        // A second look-up would find nobody who listens.
        let port = serve_once(Ipv4Addr::new(127, 0, 0, 2), with_length(GIF)).await;
        let names = Names::new([&["127.0.0.2"], &["127.0.0.3"]]);
        let url = format!("http://pictures.example:{port}/cat");
        let media = fetch_with(&url, &names, |address| address != Ipv4Addr::LOCALHOST, &LIMITS).await.unwrap();
        assert_eq!((media.media_type, &*media.base64), ("image/gif", "R0lGODlhLCBvciBzbw=="));
        assert_eq!(*names.asked.borrow(), ["pictures.example"]);
    });
}

#[test]
fn every_redirect_is_looked_up_and_checked() {
    run(async {
        let reply = b"HTTP/1.1 302 Found\r\nlocation: http://inside.example/\r\ncontent-length: 0\r\n\r\n".to_vec();
        let port = serve_once(Ipv4Addr::new(127, 0, 0, 2), reply).await;
        let names = Names::new([&["127.0.0.2"], &["127.0.0.1"]]);
        let url = format!("http://pictures.example:{port}/cat");
        let failure = fetch_with(&url, &names, |address| address != Ipv4Addr::LOCALHOST, &LIMITS).await.unwrap_err();
        assert!(failure.message.contains("at inside.example was not fetched: its host is not on"), "{failure:?}");
        assert_eq!(*names.asked.borrow(), ["pictures.example", "inside.example"]);
    });
}

#[test]
fn silence_ends_with_the_time_limit() {
    run(async {
        let limits = Limits { time: Duration::from_millis(30), ..LIMITS };
        let half = with_length(GIF).split_last().unwrap().1.to_vec();
        for reply in [Vec::new(), half] {
            let port = serve_once(Ipv4Addr::LOCALHOST, reply).await;
            let names = Names::new([&["127.0.0.1"]]);
            let url = format!("http://pictures.example:{port}/cat");
            let failure = fetch_with(&url, &names, |_| true, &limits).await.unwrap_err();
            assert!(failure.message.contains("it did not come within 30ms"), "{failure:?}");
        }
    });
}

#[test]
fn the_first_bytes_tell_the_type() {
    for (bytes, expected) in [
        (&b"\x89PNG\r\n\x1a\nrest"[..], Some("image/png")),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("image/jpeg")),
        (b"GIF87a", Some("image/gif")),
        (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp")),
        (b"%PDF-1.7", Some("application/pdf")),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (b"GIF88a", None),
        (b"\x89PNG\n", None),
        (b"<svg xmlns=", None),
        (b"", None),
    ] {
        assert_eq!(media_type(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn a_redirect_is_relative_to_its_hop_and_never_leaves_https() {
    let from = |url: &str, location: &str| {
        let location = HeaderValue::from_bytes(location.as_bytes()).unwrap();
        next_hop(&Url::parse(url).unwrap(), Some(&location)).map(String::from)
    };
    assert_eq!(from("https://a/b/c?d", "e?f"), Ok("https://a/b/e?f".to_owned()));
    assert_eq!(from("https://a/b", "//c/d"), Ok("https://c/d".to_owned()));
    assert_eq!(from("http://a/b", "https://c/\u{fc}"), Ok("https://c/%C3%BC".to_owned()));
    assert_eq!(from("https://a/b", "http://a/b"), Err(Refusal::Downgrade));
    assert_eq!(next_hop(&Url::parse("http://a").unwrap(), None), Err(Refusal::RedirectTarget));
}
