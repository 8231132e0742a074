use std::sync::Arc;
use std::time::Duration;

use actix_http::ServiceConfig;
use actix_service::boxed::rc_service;
use actix_service::fn_service;
use actix_tls::connect::{ConnectError, ConnectInfo};
use awc::http::Uri;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::upstream::client::{KEEP_ALIVE, LIFETIME, install_crypto};
use crate::upstream::http1::connection::Stream;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: h\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(5);

fn in_system(test: impl AsyncFnOnce(Rc<Host>)) {
    install_crypto();
    actix_rt::System::new().block_on(async {
        let connector = rc_service(fn_service(async |_: ConnectInfo<Uri>| Err(ConnectError::NoRecords)));
        let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        test(Rc::new(Host::new(connector, Arc::new(tls), ServiceConfig::default()))).await;
    });
}

fn over(stream: impl Stream + 'static) -> Connection {
    Connection::over(Box::new(stream), Instant::now())
}

async fn ask(connection: Connection, host: &Rc<Host>, body: &[Bytes]) -> Result<Incoming, Lost> {
    let length = body.iter().map(Bytes::len).sum();
    timeout(PATIENCE, exchange(connection, host, &Bytes::from_static(HEAD), body, Some(length))).await.expect("an end")
}

async fn read(incoming: &mut Incoming) -> Result<String, Broken> {
    let mut text = Vec::new();
    while let Some(piece) = timeout(PATIENCE, poll_fn(|context| incoming.poll_piece(context))).await.expect("an end") {
        text.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8(text).unwrap())
}

/// The answer to a small request by a server that says this and, if it `leaves`, goes.
async fn answered(host: &Rc<Host>, said: &str, leaves: bool) -> (Result<String, Broken>, DuplexStream) {
    let (here, mut there) = duplex(64 * 1024);
    there.write_all(said.as_bytes()).await.unwrap();
    if leaves {
        there.shutdown().await.unwrap();
    }
    let Ok(mut incoming) = ask(over(here), host, &[Bytes::from_static(b"{}")]).await else { panic!("{said}") };
    (read(&mut incoming).await, there)
}

fn keeps_a_connection(host: &Host) -> bool {
    host.kept(Instant::now()).is_some()
}

#[test]
fn a_request_goes_out_as_it_is_however_little_is_taken_at_a_time() {
    in_system(async |host| {
        let long = Bytes::from("ab".repeat(50_000));
        for (body, room) in [
            (vec![Bytes::from_static(b"{\"a\":"), Bytes::new(), Bytes::from_static(b"1}")], 64),
            (vec![Bytes::from_static(b"{"), long.clone(), Bytes::new(), long, Bytes::from_static(b"}")], 1000),
            (vec![Bytes::from(vec![b'x'; 1000]); 40], 7777),
            (vec![], 64),
        ] {
            let (here, mut there) = duplex(room);
            let whole = body.concat();
            let expected = [HEAD, format!("content-length: {}\r\n\r\n", whole.len()).as_bytes(), &whole].concat();
            let server = async {
                let mut seen = vec![0; expected.len()];
                there.read_exact(&mut seen).await.unwrap();
                there.write_all(SIZED.as_bytes()).await.unwrap();
                there.write_all(b"hello").await.unwrap();
                seen
            };
            let client = async { read(&mut ask(over(here), &host, &body).await.ok().unwrap()).await };
            let (text, seen) = tokio::join!(client, server);
            assert_eq!((text.ok().as_deref(), seen == expected), (Some("hello"), true), "{} bytes", whole.len());
            assert!(keeps_a_connection(&host));
        }
    });
}

#[test]
fn a_slow_stream_takes_little_memory_and_a_fast_one_is_read_in_large_pieces() {
    in_system(async |host| {
        let (here, mut there) = duplex(64 * 1024);
        there.write_all(CHUNKED.as_bytes()).await.unwrap();
        let mut incoming = ask(over(here), &host, &[]).await.ok().unwrap();
        let mut held = VecDeque::new();
        for _ in 0..200 {
            there.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).await.unwrap();
            let piece = timeout(PATIENCE, poll_fn(|context| incoming.poll_piece(context))).await.expect("a piece");
            held.push_back(piece.unwrap().ok().unwrap());
            if held.len() > 10 {
                held.pop_front();
            }
            assert!(incoming.rest.as_ref().unwrap().buffer.capacity() <= 8 * 1024);
        }
        there.write_all(format!("10000\r\n{}", "y".repeat(60_000)).as_bytes()).await.unwrap();
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < 60_000 {
            let piece = timeout(PATIENCE, poll_fn(|context| incoming.poll_piece(context))).await.expect("a piece");
            lengths.push(piece.unwrap().ok().unwrap().len());
        }
        assert!(lengths.len() <= 6, "{lengths:?}");
    });
}

#[test]
fn a_whole_answer_leaves_its_connection_for_the_next_request() {
    in_system(async |host| {
        for (said, text, is_kept) in [
            (format!("{SIZED}hello"), "hello", true),
            (format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n"), "hello", true),
            (
                format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\na: b\r\n\r\n{SIZED}hello"),
                "hello",
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), "", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(), "", true),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n".to_owned(), "", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(), "", false),
            (CHUNKED.replace("200", "204"), "", false),
            (format!("{SIZED}hello and more"), "hello", false),
            ("HTTP/1.1 200 OK\r\n\r\nhello".to_owned(), "", false),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello".to_owned(), "hello", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(), "hello", false),
        ] {
            let (read, _server) = answered(&host, &said, false).await;
            assert_eq!(read.ok().as_deref(), Some(text), "{said}");
            assert_eq!(keeps_a_connection(&host), is_kept, "{said}");
        }
    });
}

#[test]
fn a_length_beside_chunks_is_not_believed() {
    in_system(async |host| {
        let (here, mut there) = duplex(1000);
        let said = CHUNKED.replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        there.write_all(said.as_bytes()).await.unwrap();
        let mut incoming = ask(over(here), &host, &[]).await.ok().unwrap();
        assert!(!incoming.head.headers().contains_key(header::CONTENT_LENGTH));
        assert_eq!(read(&mut incoming).await.ok().as_deref(), Some("hello"));
        assert!(!keeps_a_connection(&host));
    });
}

#[test]
fn a_body_that_ends_with_its_connection_is_broken_unless_nothing_else_can_end_it() {
    in_system(async |host| {
        for (said, whole) in [
            (format!("{SIZED}hell"), None),
            (SIZED.to_owned(), None),
            (CHUNKED.to_owned(), None),
            (format!("{CHUNKED}5\r\nhel"), None),
            (format!("{CHUNKED}5\r\nhello\r\n"), None),
            (format!("{CHUNKED}5\r\nhello\r\n0\r\n"), None),
            (format!("{CHUNKED}5\r\nhello\r\nnonsense"), None),
            (format!("{SIZED}hello"), Some("hello")),
            (format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n"), Some("hello")),
            ("HTTP/1.0 200 OK\r\n\r\nhello".to_owned(), Some("hello")),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhell".to_owned(), None),
        ] {
            let (read, _server) = answered(&host, &said, true).await;
            assert_eq!(read.ok().as_deref(), whole, "{said}");
            assert!(!keeps_a_connection(&host), "its server has gone: {said}");
        }
    });
}

#[test]
fn it_is_told_how_there_came_to_be_no_answer() {
    in_system(async |host| {
        for (said, expected) in [
            ("", "closed"),
            ("HTTP/1.1 200", "midway"),
            ("HTTP/1.1 100 Continue\r\n\r\n", "midway"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
            ("HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\nhello", "not HTTP"),
            (&"HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1), "not HTTP"),
            (&format!("HTTP/1.1 200 OK\r\n{}: b\r\n\r\n", "a".repeat(MAX_HEAD_BYTES + 1)), "not HTTP"),
            ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "not HTTP"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello", "not HTTP"),
            ("HTTP/1.1 200 OK\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhello", "not HTTP"),
        ] {
            let (here, mut there) = duplex(256 * 1024);
            there.write_all(said.as_bytes()).await.unwrap();
            there.shutdown().await.unwrap();
            let lost = match ask(over(here), &host, &[]).await {
                Ok(_) => "answered",
                Err(Lost::Closed) => "closed",
                Err(Lost::Reset) => "reset",
                Err(Lost::Midway) => "midway",
                Err(Lost::NotHttp) => "not HTTP",
            };
            assert_eq!(lost, expected, "{said}");
        }
    });
}

#[test]
fn an_answer_that_comes_before_all_was_sent_is_read_and_the_rest_goes_on() {
    in_system(async |host| {
        let body = [Bytes::from(vec![b'x'; 300_000])];
        let (here, mut there) = duplex(1000);
        there.write_all(CHUNKED.as_bytes()).await.unwrap();
        let mut incoming = ask(over(here), &host, &body).await.ok().unwrap();
        let server = async {
            let mut seen = vec![0; HEAD.len() + "content-length: 300000\r\n\r\n".len() + 300_000];
            there.read_exact(&mut seen).await.unwrap();
            there.write_all(b"5\r\nhello\r\n0\r\n\r\n").await.unwrap();
        };
        let (text, ()) = tokio::join!(read(&mut incoming), server);
        assert_eq!(text.ok().as_deref(), Some("hello"));
        assert!(keeps_a_connection(&host));
    });
}

#[test]
fn a_server_that_refuses_a_long_body_and_hangs_up_is_heard() {
    in_system(async |host| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let refusal = async {
            server.read_exact(&mut [0; 100]).await.unwrap();
            server.write_all(b"HTTP/1.1 413 Too Long\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
            drop(server);
        };
        let body = [Bytes::from(vec![b'x'; 50_000_000])];
        let (incoming, ()) = tokio::join!(ask(over(stream), &host, &body), refusal);
        let mut incoming = incoming.ok().unwrap();
        assert_eq!(incoming.head.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read(&mut incoming).await.ok().as_deref(), Some("hello"));
        assert!(!keeps_a_connection(&host), "the request was never whole");
    });
}

#[test]
fn connections_that_rest_for_long_or_are_old_are_not_used() {
    in_system(async |host| {
        let now = Instant::now();
        let (here, _there) = duplex(64);
        host.keep(over(here), now);
        assert!(host.kept(now + KEEP_ALIVE + Duration::from_millis(1)).is_none());
        let (here, _there) = duplex(64);
        host.keep(over(here), now + LIFETIME + KEEP_ALIVE);
        assert!(host.kept(now + LIFETIME + KEEP_ALIVE).is_none());
        let (here, _there) = duplex(64);
        host.keep(over(here), now);
        assert!(host.kept(now + KEEP_ALIVE).is_some());
    });
}
