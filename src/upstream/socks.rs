//! Tunnels through a SOCKS5 proxy.
//!
//! Source: RFC 1928, "SOCKS Protocol Version 5", and RFC 1929, "Username/Password Authentication for
//! SOCKS V5".

use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::{Login, Proxy};

use super::proxy::{Destination, Fault};

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
const LOGIN_VERSION: u8 = 1;
const SUCCESS: u8 = 0;

/// How a user is asked for.
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NOTHING_ACCEPTABLE: u8 = 0xff;

/// What an address is.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

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
    let methods: &[u8] = match proxy.login {
        None => &[VERSION, 1, NO_LOGIN],
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
    };
    send(stream, methods).await?;
    match (receive(stream).await?, &proxy.login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, PASSWORD], Some(login)) => {
            send(stream, &login_request(login)?).await?;
            let [_, status] = receive(stream).await?;
            if status != SUCCESS {
                return Err(Fault::LoginRefused);
            }
        }
        ([VERSION, PASSWORD | NOTHING_ACCEPTABLE], None) => return Err(Fault::LoginWanted),
        ([VERSION, NOTHING_ACCEPTABLE], Some(_)) => return Err(Fault::LoginRefused),
        _ => return Err(Fault::NotAProxy),
    }
    send(stream, &connect_request(destination)?).await?;
    let [version, reply, _, kind] = receive(stream).await?;
    if version != VERSION {
        return Err(Fault::NotAProxy);
    }
    if reply != SUCCESS {
        return Err(Fault::Refused(meaning(reply).to_owned()));
    }
    skip_address(stream, kind).await
}

/// In one piece, since some proxies expect each message in one.
async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> Result<(), Fault> {
    stream.write_all(message).await?;
    Ok(stream.flush().await?)
}

async fn receive<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], Fault> {
    let mut message = [0; N];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn login_request(Login { user, password }: &Login) -> Result<Vec<u8>, Fault> {
    let mut message = vec![LOGIN_VERSION];
    for text in [user, password] {
        push_counted(&mut message, text.expose()).ok_or(Fault::LoginRefused)?;
    }
    Ok(message)
}

fn connect_request(Destination { host, port }: &Destination) -> Result<Vec<u8>, Fault> {
    let mut message = vec![VERSION, CONNECT, 0];
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        message.push(IPV4);
        message.extend(address.octets());
    } else if let Some(address) = in_brackets.and_then(|host| host.parse::<Ipv6Addr>().ok()) {
        message.push(IPV6);
        message.extend(address.octets());
    } else {
        message.push(NAME);
        push_counted(&mut message, host).ok_or_else(|| Fault::Refused("its host name is too long".to_owned()))?;
    }
    message.extend(port.to_be_bytes());
    Ok(message)
}

fn push_counted(message: &mut Vec<u8>, text: &str) -> Option<()> {
    message.push(u8::try_from(text.len()).ok()?);
    message.extend(text.as_bytes());
    Some(())
}

/// From where the proxy has reached the destination; of no use here.
async fn skip_address(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> Result<(), Fault> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [length] = receive(stream).await?;
            usize::from(length)
        }
        _ => return Err(Fault::NotAProxy),
    };
    let mut address = vec![0; length + 2];
    stream.read_exact(&mut address).await?;
    Ok(())
}

fn meaning(reply: u8) -> &'static str {
    match reply {
        1 => "it has failed",
        2 => "its rules forbid it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "the connection took too long",
        7 => "it knows no CONNECT",
        8 => "it does not know this kind of address",
        _ => "it gives no reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str) -> Result<Vec<u8>, Fault> {
        connect_request(&Destination { host: host.to_owned(), port: 258 })
    }

    #[test]
    fn names_and_addresses_are_written_as_what_they_are() {
        assert_eq!(request("a.b").unwrap(), b"\x05\x01\x00\x03\x03a.b\x01\x02");
        assert_eq!(request("1.2.3.4").unwrap(), b"\x05\x01\x00\x01\x01\x02\x03\x04\x01\x02");
        let v6 = [&[5, 1, 0, IPV6][..], &[0; 15], &[1, 1, 2]].concat();
        assert_eq!(request("[::1]").unwrap(), v6);
        assert!(request(&"a".repeat(256)).is_err());
    }

    #[tokio::test]
    async fn nothing_behind_the_answer_is_read() {
        for bound in [&b"\x01abcd"[..], b"\x04abcdefghijklmnop", b"\x03\x02ab"] {
            let answer = [b"\x05\x00\x05\x00\x00", bound, b"\x00\x50rest"].concat();
            let (mut here, mut there) = tokio::io::duplex(4096);
            there.write_all(&answer).await.unwrap();
            let proxy =
                Proxy { protocol: crate::config::ProxyProtocol::Socks5, host: "p".into(), port: 1080, login: None };
            let destination = Destination { host: "h".to_owned(), port: 443 };
            open_tunnel(&mut here, &proxy, &destination).await.map_err(|fault| fault.to_string()).unwrap();
            assert_eq!(&receive::<4>(&mut here).await.map_err(|fault| fault.to_string()).unwrap(), b"rest");
        }
    }
}
