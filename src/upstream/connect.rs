//! Tunnels through an HTTP proxy.
//!
//! Source: RFC 9110, "CONNECT", and RFC 7617, "The 'Basic' HTTP Authentication Scheme".

use std::io::ErrorKind;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::{Login, Proxy};

use super::client::USER_AGENT;
use super::proxy::{Destination, Fault};

/// An answer to CONNECT may be this long, in bytes.
const MAX_HEAD_BYTES: usize = 8 * 1024;
const END: &[u8] = b"\r\n\r\n";

/// Makes of a connection to the proxy one to the destination.
///
/// # Errors
///
/// Whatever the proxy answers but yes.
pub(super) async fn open_tunnel(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    destination: &Destination,
) -> Result<(), Fault> {
    stream.write_all(request(proxy.login.as_ref(), destination).as_bytes()).await?;
    stream.flush().await?;
    let head = read_head(stream).await?;
    match status(&head).ok_or(Fault::NotAProxy)? {
        // Nobody behind the proxy speaks first, so nothing can have been read of what is behind the head.
        200..=299 if head.ends_with(END) => Ok(()),
        200..=299 => Err(Fault::NotAProxy),
        407 if proxy.login.is_none() => Err(Fault::LoginWanted),
        407 => Err(Fault::LoginRefused),
        status => Err(Fault::Refused(format!("status {status}"))),
    }
}

/// The head of an answer, and whatever came with it.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Fault> {
    let mut head = Vec::with_capacity(512);
    while memmem::find(&head, END).is_none() {
        if head.len() > MAX_HEAD_BYTES {
            return Err(Fault::NotAProxy);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(Fault::Broken(ErrorKind::UnexpectedEof));
        }
    }
    Ok(head)
}

/// The status of an answer: `HTTP/1.1 200 Connection established`.
fn status(head: &[u8]) -> Option<u16> {
    let (version, rest) = head.split_at_checked(8)?;
    let status = rest.strip_prefix(b" ")?.get(..3)?;
    let is_http = version.starts_with(b"HTTP/1.") && status.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(status).ok().filter(|_| is_http)?.parse().ok()
}

fn request(login: Option<&Login>, Destination { host, port }: &Destination) -> String {
    let login = login.map(|Login { user, password }| {
        let login = STANDARD.encode(format!("{}:{}", user.expose(), password.expose()));
        format!("Proxy-Authorization: Basic {login}\r\n")
    });
    let login = login.unwrap_or_default();
    format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: {USER_AGENT}\r\n{login}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyProtocol;

    /// What becomes of a proxy that answers this, in pieces of `size` bytes.
    async fn outcome(answer: &[u8], size: usize) -> Result<(), String> {
        let (mut here, mut there) = tokio::io::duplex(size);
        let proxy = Proxy { protocol: ProxyProtocol::Http, host: "p".into(), port: 80, login: None };
        let destination = Destination { host: "h".to_owned(), port: 443 };
        let opening = async {
            let outcome = open_tunnel(&mut here, &proxy, &destination).await;
            drop(here);
            outcome.map_err(|fault| fault.to_string())
        };
        let answering = async {
            let mut asked = Vec::new();
            while !asked.ends_with(END) {
                there.read_buf(&mut asked).await.unwrap();
            }
            // Whoever has heard enough goes.
            let _ = there.write_all(answer).await;
            drop(there);
        };
        futures::join!(opening, answering).0
    }

    #[tokio::test]
    async fn an_answer_may_come_in_any_pieces() {
        for size in [1, 7, 4096] {
            assert_eq!(outcome(b"HTTP/1.0 200 OK\r\n\r\n", size).await, Ok(()));
            assert_eq!(outcome(b"HTTP/1.1 204 Why not\r\nvia: x\r\n\r\n", size).await, Ok(()));
            let forbidden = outcome(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno", size).await;
            assert!(forbidden.unwrap_err().ends_with("status 403"));
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_of_a_proxy_is_not_taken_for_one() {
        for answer in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
        ] {
            assert!(
                outcome(answer.as_bytes(), 4096).await.unwrap_err().starts_with("does not answer like one"),
                "{answer}"
            );
        }
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 2 * MAX_HEAD_BYTES]].concat();
        assert!(outcome(&endless, 512).await.unwrap_err().starts_with("does not answer like one"));
        assert!(outcome(b"HTTP/1.1 200 OK\r\n", 4096).await.unwrap_err().starts_with("broke the connection"));
    }
}
