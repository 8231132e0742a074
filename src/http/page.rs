//! The statistics page, and what a browser may do with it.

use std::sync::LazyLock;

use actix_web::http::header::{self, Accept, Header, Quality};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

const PAGE: &str = include_str!("stats.html");

/// Nothing but its own script and style runs, and it talks to nobody but the gateway.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (script, style) = (sources(PAGE, "script"), sources(PAGE, "style"));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The page; without figures, so that it needs no key.
pub fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY.as_str()))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(PAGE)
}

/// Whether a client would rather have the page than JSON, as browsers do: HTML has a higher quality,
/// or as high a one and is named more exactly.
pub fn is_wanted(request: &HttpRequest) -> bool {
    let accepted = Accept::parse(request).map(|accept| accept.0).unwrap_or_default();
    // Of the ranges that something is in the most exact one counts.
    let rank = |ranges: [&str; 3]| {
        let quality = |range| accepted.iter().find(|item| item.item.essence_str() == range).map(|item| item.quality);
        ranges.into_iter().zip([3, 2, 1]).find_map(|(range, exactness)| Some((quality(range)?, exactness)))
    };
    let html: Option<(Quality, u8)> = rank(["text/html", "text/*", "*/*"]);
    html.is_some_and(|(quality, _)| quality > Quality::ZERO)
        && html > rank(["application/json", "application/*", "*/*"])
}

/// The hashes of what is in the elements of this name, as a policy lists them.
fn sources(page: &str, element: &str) -> String {
    let (opening, closing) = (format!("<{element}>"), format!("</{element}>"));
    let contents = page.split(&opening).skip(1).filter_map(|rest| rest.split(&closing).next());
    let hashes = contents.map(|text| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes()))));
    hashes.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn wants_page(accept: &str) -> bool {
        is_wanted(&TestRequest::default().insert_header((header::ACCEPT, accept)).to_http_request())
    }

    #[test]
    fn browsers_want_the_page_and_programs_do_not() {
        assert!(wants_page("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"));
        assert!(wants_page("text/html, */*"));
        assert!(wants_page("application/json;q=0.5, text/html;q=0.6"));
        for accept in
            ["", "*/*", "application/json", "application/json, text/html", "text/html;q=0, */*", "image/png", ",;"]
        {
            assert!(!wants_page(accept), "{accept}");
        }
        assert!(!is_wanted(&TestRequest::default().to_http_request()));
    }

    /// What the policy relies on: nothing from elsewhere, and no script or style but the two elements.
    #[test]
    fn the_page_needs_nothing_but_itself() {
        for (element, count) in [("script", 1), ("style", 1)] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), count);
            assert_eq!(sources(PAGE, element).split(' ').count(), count);
        }
        for elsewhere in [" src=\"", "@import", "url(", " style=\"", " onclick=", "href=\"http"] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        // The example of <https://www.w3.org/TR/CSP3/#framework-directive-source-list>.
        let page = "<script>alert('Hello, world.');</script>";
        assert_eq!(sources(page, "script"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }
}
