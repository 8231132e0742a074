//! The head of a request, as it goes on the wire.

use awc::http::Uri;
use awc::http::header::{self, HeaderMap};
use bytes::{Bytes, BytesMut};
use http::Method;

/// What the exchange itself says, if anybody does.
const OF_THE_EXCHANGE: [header::HeaderName; 3] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

/// The head, up to where the length of the body is told.
pub(in crate::upstream) fn head(method: &Method, uri: &Uri, headers: &HeaderMap) -> Bytes {
    let mut head = BytesMut::with_capacity(512);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    if !headers.contains_key(header::HOST) {
        head.extend_from_slice(b"host: ");
        head.extend_from_slice(host(uri).as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    for (name, value) in headers.iter().filter(|(name, _)| !OF_THE_EXCHANGE.contains(name)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.freeze()
}

fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        None | Some(80 | 443) => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(uri: &'static str, headers: &[(header::HeaderName, &'static str)]) -> String {
        let headers = headers.iter().map(|(name, value)| (name.clone(), header::HeaderValue::from_static(value)));
        let head = head(&Method::POST, &Uri::from_static(uri), &headers.collect());
        String::from_utf8(head.to_vec()).unwrap()
    }

    #[test]
    fn the_head_names_path_query_and_host() {
        let whole = text("https://api.example.com:8443/v1/chat?a=%20b", &[(header::ACCEPT, "*/*")]);
        assert_eq!(whole, "POST /v1/chat?a=%20b HTTP/1.1\r\nhost: api.example.com:8443\r\naccept: */*\r\n");
        assert_eq!(text("https://h:443", &[]), "POST / HTTP/1.1\r\nhost: h\r\n");
    }

    #[test]
    fn a_host_of_the_configuration_counts_and_lengths_of_its_do_not() {
        let headers = [(header::HOST, "other"), (header::CONTENT_LENGTH, "7"), (header::TRANSFER_ENCODING, "chunked")];
        assert_eq!(text("http://h/x", &headers), "POST /x HTTP/1.1\r\nhost: other\r\n");
    }
}
