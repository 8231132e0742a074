//! `uni-api health`: asks the gateway on this machine whether it serves.
//!
//! For the health check of a container, whose image need not have another HTTP client then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Url;

use super::environment::Environment;
use super::serve::fetch;

/// Asks where `HOST` and `PORT` say. Returns the exit code: 0 if the gateway serves.
pub fn run(environment: &Environment) -> u8 {
    let answer = match environment.listen.first() {
        Some(address) => ask(*address),
        None => Err("HOST has no address".to_owned()),
    };
    match answer {
        Ok(()) => 0,
        Err(why) => {
            log::error!("{why}");
            1
        }
    }
}

fn ask(listen: SocketAddr) -> Result<(), String> {
    let url = format!("http://{}/healthz", reachable(listen));
    let answer = Url::parse(&url).map_err(|error| error.to_string()).and_then(|url| fetch(&url));
    answer.map(drop).map_err(|_| format!("{url} does not answer; is the gateway running?"))
}

/// Who listens on every address is asked on that of this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn every_address_is_asked_on_this_machine() {
        for (listen, asked) in
            [("0.0.0.0:8000", "127.0.0.1:8000"), ("[::]:81", "[::1]:81"), ("192.168.0.7:82", "192.168.0.7:82")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn nobody_there_is_not_healthy() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ask(nobody).unwrap_err().contains("/healthz does not answer"));
    }
}
