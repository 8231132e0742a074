//! Where a request comes from.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName};

use crate::config::TrustedProxies;

/// Headers in which a proxy names one address, if it does not keep the list.
const SINGLE: [HeaderName; 3] = [
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-real-ip"),
];

/// The address of the client: that of the socket, unless a trusted proxy is there and names another.
pub fn client_ip(request: &HttpRequest, proxies: &TrustedProxies) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let named = if proxies.contain(peer) { named(request.headers(), proxies) } else { None };
    Some(named.unwrap_or(peer))
}

/// The address that proxies name. Each adds whom it saw to the end of `x-forwarded-for`, so the last
/// one that is no proxy of ours is the client, and what stands before it is only what that claims.
fn named(headers: &HeaderMap, proxies: &TrustedProxies) -> Option<IpAddr> {
    let lists: Vec<&str> = headers.get_all(header::X_FORWARDED_FOR).filter_map(|value| value.to_str().ok()).collect();
    if lists.is_empty() {
        return SINGLE.iter().find_map(|name| address(headers.get(name)?.to_str().ok()?));
    }
    let mut seen = None;
    for entry in lists.iter().rev().flat_map(|list| list.rsplit(',')) {
        let Some(address) = address(entry) else { break };
        seen = Some(address);
        if !proxies.contain(address) {
            break;
        }
    }
    seen
}

/// An address, maybe with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = || text.strip_prefix('[')?.split(']').next()?.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(plain).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn seen(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut request = TestRequest::get().peer_addr(format!("{peer}:1234").parse().unwrap());
        for header in headers {
            request = request.append_header(*header);
        }
        client_ip(&request.to_http_request(), &TrustedProxies::default()).unwrap().to_string()
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        let forwarded = [("x-forwarded-for", "203.0.113.9")];
        assert_eq!(seen("127.0.0.1", &forwarded), "203.0.113.9");
        assert_eq!(seen("[::1]", &forwarded), "203.0.113.9");
        assert_eq!(seen("8.8.8.8", &forwarded), "8.8.8.8");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_claims_in_front_of_the_list_does_not_count() {
        let claimed = [("x-forwarded-for", "1.2.3.4, 203.0.113.9, 10.0.0.7")];
        assert_eq!(seen("127.0.0.1", &claimed), "203.0.113.9");
        let in_two = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(seen("127.0.0.1", &in_two), "203.0.113.9");
        let garbage = [("x-forwarded-for", "unknown, 192.168.0.5")];
        assert_eq!(seen("127.0.0.1", &garbage), "192.168.0.5");
        assert_eq!(seen("127.0.0.1", &[("x-forwarded-for", "nonsense")]), "127.0.0.1");
    }

    #[test]
    fn other_headers_count_where_there_is_no_list() {
        assert_eq!(seen("127.0.0.1", &[("x-real-ip", "203.0.113.9")]), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", &[("cf-connecting-ip", "2001:db8::9"), ("x-real-ip", "10.0.0.1")]), "2001:db8::9");
        let both = [("x-real-ip", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(seen("127.0.0.1", &both), "203.0.113.9");
    }

    #[test]
    fn ports_and_brackets_are_left_out() {
        assert_eq!(seen("127.0.0.1", &[("x-forwarded-for", "203.0.113.9:555")]), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", &[("x-forwarded-for", "[2001:db8::9]:555")]), "2001:db8::9");
        assert_eq!(seen("127.0.0.1", &[("x-forwarded-for", "[2001:db8::9]")]), "2001:db8::9");
        assert_eq!(seen("127.0.0.1", &[("x-forwarded-for", "::ffff:203.0.113.9")]), "203.0.113.9");
    }
}
