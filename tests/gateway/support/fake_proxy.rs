//! A proxy on a port of its own, HTTP or SOCKS5, that opens tunnels or behaves otherwise.
//!
//! ```ignore
//! let proxy = FakeProxy::http(Manner::Opens).await;
//! // … configure a channel with `proxy.url("http", "")` and the base_url `http://up.test:PORT/v1` …
//! assert_eq!(proxy.destinations(), ["up.test:PORT"]);
//! ```
//!
//! Every name is 127.0.0.1 to it, also those that nobody else knows.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// How a proxy behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Opens a tunnel to whatever it is asked for.
    Opens,
    /// The same for who says this user and password.
    OpensFor(&'static str, &'static str),
    /// Opens none: status 403, or the reply "not allowed".
    Forbids,
    /// Says nothing.
    Stalls,
    /// Says something that is no answer of a proxy.
    Babbles,
    /// Never comes to the end of its answer.
    NeverEnds,
    /// Closes at once.
    Closes,
}

/// The proxy.
pub struct FakeProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    listening: JoinHandle<()>,
}

/// What a client has asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Every byte before the tunnel.
    pub said: Vec<u8>,
    /// `host:port`, if it came to that.
    pub destination: Option<String>,
}

impl FakeProxy {
    /// One that speaks HTTP.
    pub async fn http(manner: Manner) -> Self {
        Self::start(manner, false).await
    }

    /// One that speaks SOCKS5.
    pub async fn socks(manner: Manner) -> Self {
        Self::start(manner, true).await
    }

    async fn start(manner: Manner, is_socks: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve(client, manner, is_socks, Arc::clone(&log)));
            }
        });
        Self { address, asked, listening }
    }

    /// Its address as `preferences.proxy` has it; `login` is `user:password@` or nothing.
    pub fn url(&self, scheme: &str, login: &str) -> String {
        format!("{scheme}://{login}{}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What it was asked for, in the order of the connections that came to a decision.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic under this lock").clone()
    }

    /// Where the tunnels led.
    pub fn destinations(&self) -> Vec<String> {
        self.asked().into_iter().filter_map(|asked| asked.destination).collect()
    }
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(mut client: TcpStream, manner: Manner, is_socks: bool, log: Arc<Mutex<Vec<Asked>>>) {
    let mut asked = Asked::default();
    let allowed = match (manner, is_socks) {
        (Manner::Closes, _) => return,
        (Manner::Stalls, _) => {
            log.lock().expect("no panic under this lock").push(asked);
            return std::future::pending().await;
        }
        (Manner::Babbles, _) => {
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
            false
        }
        (Manner::NeverEnds, _) => {
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while client.write_all(b"x-more: and more\r\n").await.is_ok() {}
            return;
        }
        (_, true) => socks(&mut client, manner, &mut asked).await.unwrap_or(false),
        (_, false) => http(&mut client, manner, &mut asked).await,
    };
    let destination = asked.destination.clone();
    log.lock().expect("no panic under this lock").push(asked);
    let Some(destination) = destination.filter(|_| allowed) else { return };
    let port: u16 = destination.rsplit(':').next().expect("a port").parse().expect("a number");
    let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    if is_socks {
        client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.expect("a client that waits");
    } else {
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
            .await
            .expect("a client that waits");
    }
    let _ = copy_bidirectional(&mut client, &mut upstream).await;
}

async fn http(client: &mut TcpStream, manner: Manner, asked: &mut Asked) -> bool {
    while !asked.said.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut asked.said).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    let head = String::from_utf8(asked.said.clone()).expect("UTF-8");
    let line = head.lines().next().expect("a request line");
    let destination = line.strip_prefix("CONNECT ").and_then(|line| line.strip_suffix(" HTTP/1.1"));
    asked.destination = Some(destination.unwrap_or_else(|| panic!("not CONNECT: {line}")).to_owned());
    let said = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: Basic "));
    let refusal: &[u8] = match manner {
        Manner::Forbids => b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
        Manner::OpensFor(user, password) if said != Some(&basic(user, password)) => {
            b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n"
        }
        _ => return true,
    };
    let _ = client.write_all(refusal).await;
    false
}

fn basic(user: &str, password: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(format!("{user}:{password}"))
}

/// `None` for a client that is gone.
async fn socks(client: &mut TcpStream, manner: Manner, asked: &mut Asked) -> Option<bool> {
    let greeting = take(client, asked, 2).await?;
    let methods = take(client, asked, greeting[1].into()).await?;
    match manner {
        Manner::OpensFor(user, password) => {
            if !methods.contains(&2) {
                client.write_all(&[5, 0xff]).await.ok()?;
                return Some(false);
            }
            client.write_all(&[5, 2]).await.ok()?;
            assert_eq!(take(client, asked, 1).await?, [1]);
            let mut login = Vec::new();
            for _ in 0..2 {
                let length = take(client, asked, 1).await?[0];
                login.push(take(client, asked, length.into()).await?);
            }
            let is_known = login == [user.as_bytes(), password.as_bytes()];
            client.write_all(&[1, u8::from(!is_known)]).await.ok()?;
            if !is_known {
                return Some(false);
            }
        }
        _ => client.write_all(&[5, 0]).await.ok()?,
    }
    let request = take(client, asked, 4).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => take(client, asked, 4).await?.iter().map(ToString::to_string).collect::<Vec<_>>().join("."),
        3 => {
            let length = take(client, asked, 1).await?[0];
            String::from_utf8(take(client, asked, length.into()).await?).expect("UTF-8")
        }
        other => panic!("address of type {other}"),
    };
    let port = take(client, asked, 2).await?;
    asked.destination = Some(format!("{host}:{}", u16::from_be_bytes([port[0], port[1]])));
    if manner == Manner::Forbids {
        client.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
        return Some(false);
    }
    Some(true)
}

async fn take(client: &mut TcpStream, asked: &mut Asked, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).await.ok()?;
    asked.said.extend_from_slice(&bytes);
    Some(bytes)
}
