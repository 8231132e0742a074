//! Heads of requests and answers, in the types of the crate that puts them on the wire and in those of the
//! rest of the house: their names are the same, their versions are not.

use awc::http::header as ours;
use awc::http::{StatusCode, Uri};
use http::response::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Version, header};

/// The head of a request with a body of this length, if it has one. Of headers of the same name, the last
/// one counts.
///
/// # Errors
///
/// The address cannot be asked.
pub(super) fn request<'a>(
    method: &Method,
    uri: &Uri,
    headers: impl Iterator<Item = (&'a ours::HeaderName, &'a ours::HeaderValue)>,
    body_bytes: usize,
) -> Result<Request<()>, http::Error> {
    let request = Request::builder().version(Version::HTTP_2).method(method.clone()).uri(uri.to_string());
    let mut request = request.body(())?;
    for (name, value) in headers {
        let mut theirs = HeaderValue::from_bytes(value.as_bytes())?;
        // Such a value is kept out of the tables of names and values that both sides remember.
        theirs.set_sensitive(value.is_sensitive());
        request.headers_mut().insert(HeaderName::from_bytes(name.as_str().as_bytes())?, theirs);
    }
    if body_bytes > 0 {
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body_bytes));
    }
    Ok(request)
}

/// The status and the headers of an answer. Both sides take the same ones for valid.
pub(super) fn answer(head: &Parts) -> (StatusCode, ours::HeaderMap) {
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = head.headers.iter().filter_map(|(name, value)| {
        let name = ours::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        Some((name, ours::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    (status, headers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_header_of_a_name_counts_and_secrets_stay_secret() {
        let mut key = ours::HeaderValue::from_static("secret");
        key.set_sensitive(true);
        let [old, new] = ["old/1", "new/1"].map(ours::HeaderValue::from_static);
        let headers = [(&ours::USER_AGENT, &old), (&ours::AUTHORIZATION, &key), (&ours::USER_AGENT, &new)];
        let uri = Uri::from_static("https://h:8443/v1/chat?a=%20b");
        let request = request(&Method::POST, &uri, headers.into_iter(), 5).unwrap();
        assert_eq!((request.uri().to_string(), request.version()), (uri.to_string(), Version::HTTP_2));
        assert_eq!(request.headers().get_all("user-agent").iter().collect::<Vec<_>>(), ["new/1"]);
        assert!(request.headers()["authorization"].is_sensitive());
        assert_eq!(request.headers()["content-length"], "5");
    }

    #[test]
    fn headers_of_answers_keep_their_bytes_and_their_order() {
        let head = http::Response::builder().status(429).header("x-a", "1").header("x-a", "2");
        let head = head.header("x-b", HeaderValue::from_bytes(b"\xff").unwrap()).body(()).unwrap().into_parts().0;
        let (status, headers) = answer(&head);
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(headers.get_all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.get("x-b").unwrap().as_bytes(), b"\xff");
    }
}
