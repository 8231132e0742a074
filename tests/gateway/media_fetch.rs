//! Images and documents that the gateway fetches from the addresses that clients name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uni_api::canon::{Failure, FailureKind};
use uni_api::config::MediaFetch;
use uni_api::upstream::{self, Media};

use crate::support::{FakeUpstream, Reply, refusing_address, within_patience};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nas good as any other picture";
const MAX_BYTES: usize = 20 * 1024 * 1024;

async fn fetch(url: &str, policy: MediaFetch) -> Result<Media, Failure> {
    upstream::install_crypto();
    within_patience("a picture", upstream::fetch_media(url, policy)).await
}

/// Why nothing was fetched.
async fn refusal(url: &str, policy: MediaFetch) -> String {
    let failure = fetch(url, policy).await.expect_err(url);
    assert_eq!((failure.kind, failure.status()), (FailureKind::MediaUnavailable, 400));
    assert!(!failure.message.contains("SECRET"), "{}", failure.message);
    failure.message
}

/// The same for a reply, fetched without regard of where it comes from.
async fn refusal_of(reply: Reply) -> String {
    let server = FakeUpstream::in_turn([reply]).await;
    refusal(&server.url("/cat.png?key=SECRET"), MediaFetch::Any).await
}

fn redirect(status: u16, to: &str) -> Reply {
    Reply::body("text/html", "Over there!").status(status).header("location", to)
}

#[actix_web::test]
async fn a_picture_is_fetched_with_nothing_but_its_address() {
    let server = FakeUpstream::in_turn([Reply::body("text/plain", PNG)]).await;
    let media = fetch(&server.url("/a/cat.png?size=1#top"), MediaFetch::Any).await.unwrap();
    assert_eq!(media, Media { media_type: "image/png", base64: STANDARD.encode(PNG) });
    let request = &server.received()[0];
    assert_eq!((&*request.method, &*request.path, &*request.query), ("GET", "/a/cat.png", "size=1"));
    assert_eq!(request.header("accept"), Some("image/*, application/pdf"));
    assert!(request.header("user-agent").unwrap().starts_with("uni-api/"));
    for private in ["authorization", "cookie", "x-api-key", "referer"] {
        assert_eq!(request.header(private), None);
    }
    server.wait_for_open_connections(0).await;
}

#[actix_web::test]
async fn a_picture_may_come_in_any_pieces() {
    let all: Vec<u8> = PNG.iter().copied().cycle().take(100_000).collect();
    for size in [1, 7, 4096] {
        let part = if size == 1 { &all[..500] } else { &all };
        let reply = Reply::body("image/png", part.to_vec()).split_every(size);
        let server = FakeUpstream::in_turn([reply]).await;
        let media = fetch(&server.url("/"), MediaFetch::Any).await.unwrap();
        assert_eq!(media.base64, STANDARD.encode(part));
    }
}

#[actix_web::test]
async fn three_redirects_are_followed_and_no_more() {
    let server = FakeUpstream::answering(|request| match &*request.path {
        "/a" => redirect(301, "/b"),
        "/b" => redirect(302, "c?x=1"),
        "/c" => redirect(307, &format!("//{}/d", request.header("host").unwrap())),
        "/d" => Reply::body("image/png", PNG),
        _ => redirect(308, "/a"),
    })
    .await;
    assert_eq!(fetch(&server.url("/a"), MediaFetch::Any).await.unwrap().media_type, "image/png");
    assert_eq!(server.received().iter().map(|request| &*request.path).collect::<Vec<_>>(), ["/a", "/b", "/c", "/d"]);
    let why = refusal(&server.url("/start"), MediaFetch::Any).await;
    assert!(why.contains("redirected more than 3 times"), "{why}");
}

#[actix_web::test]
async fn a_redirect_to_what_is_not_fetched_is_refused() {
    for (to, reason) in [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://127.0.0.1/x", "only http and https"),
        ("data:image/png;base64,SECRET", "only http and https"),
        ("http://user:SECRET@127.0.0.1/x", "user name or a password"),
        ("http://[SECRET", "redirected to nowhere"),
        ("http://", "redirected to nowhere"),
    ] {
        let why = refusal_of(redirect(302, to)).await;
        assert!(why.contains(reason), "{to}: {why}");
    }
    let why = refusal_of(Reply::body("text/html", "?").status(302)).await;
    assert!(why.contains("redirected to nowhere"), "{why}");
}

#[actix_web::test]
async fn addresses_of_other_kinds_are_refused() {
    for (url, reason) in [
        ("file:///etc/passwd", "only http and https"),
        ("gopher://127.0.0.1:6379/_SECRET", "only http and https"),
        ("https://user@127.0.0.1/", "user name or a password"),
        ("https://:SECRET@127.0.0.1/", "user name or a password"),
        ("cat.png?SECRET", "not a valid URL"),
        ("http://[fe80::1%25eth0]/SECRET", "not a valid URL"),
        ("http://no-such-host.invalid/SECRET", "no-such-host.invalid was not fetched: its host name has no address"),
    ] {
        let why = refusal(url, MediaFetch::Any).await;
        assert!(why.contains(reason), "{url}: {why}");
    }
    let nobody = format!("http://{}/SECRET", refusing_address().await);
    let why = refusal(&nobody, MediaFetch::Any).await;
    assert!(why.contains("at 127.0.0.1 was not fetched: its server did not answer"), "{why}");
}

#[actix_web::test]
async fn no_connection_is_opened_to_a_private_address() {
    let server = FakeUpstream::in_turn([Reply::body("image/png", PNG)]).await;
    let port = server.address().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "[::]",
    ] {
        let why = refusal(&format!("http://{host}:{port}/cat.png?key=SECRET"), MediaFetch::Public).await;
        assert!(why.contains("its host is not on the public internet"), "{host}: {why}");
        let why = refusal(&format!("https://{host}:{port}/cat.png"), MediaFetch::Public).await;
        assert!(why.contains("its host is not on the public internet"), "{host}: {why}");
    }
    assert_eq!(server.accepted_connections(), 0);
}

#[actix_web::test]
async fn nothing_is_fetched_under_deny() {
    let server = FakeUpstream::in_turn([Reply::body("image/png", PNG)]).await;
    let why = refusal(&server.url("/SECRET"), MediaFetch::Deny).await;
    assert!(why.contains("preferences.media_fetch"), "{why}");
    assert_eq!(server.accepted_connections(), 0);
}

#[actix_web::test]
async fn what_is_too_large_is_cut_off() {
    let announced = Reply::body("image/png", PNG).content_length_lie(MAX_BYTES + 1);
    let why = refusal_of(announced).await;
    assert!(why.contains("larger than 20971520 bytes"), "{why}");

    let endless = FakeUpstream::in_turn([Reply::sse([
        String::from_utf8(b"%PDF-1.7".to_vec()).unwrap(),
        " ".repeat(MAX_BYTES - 8),
        "x".to_owned(),
        "x".repeat(MAX_BYTES),
    ])])
    .await;
    let why = refusal(&endless.url("/"), MediaFetch::Any).await;
    assert!(why.contains("larger than 20971520 bytes"), "{why}");
    endless.wait_for_disconnect().await;

    let limit = Reply::sse(["%PDF-1.7".to_owned(), " ".repeat(MAX_BYTES - 8)]);
    let server = FakeUpstream::in_turn([limit]).await;
    let media = fetch(&server.url("/"), MediaFetch::Any).await.unwrap();
    assert_eq!((media.media_type, media.base64.len()), ("application/pdf", MAX_BYTES.div_ceil(3) * 4));
}

#[actix_web::test]
async fn half_a_picture_is_none() {
    for reply in [
        Reply::body("image/png", PNG).cut_at_byte(20),
        Reply::body("image/png", PNG).cut_at_byte(5),
        Reply::body("image/png", PNG).content_length_lie(1000),
    ] {
        let why = refusal_of(reply).await;
        assert!(why.contains("ended before it was whole"), "{why}");
    }
    let why = refusal_of(Reply::body("image/png", PNG).until_close()).await;
    assert!(why.contains("neither a Content-Length nor chunks"), "{why}");
}

#[actix_web::test]
async fn only_pictures_and_pdfs_are_taken_whatever_their_server_says() {
    for body in ["<html>SECRET</html>", "<svg xmlns='http://www.w3.org/2000/svg'/>", "", "GIF"] {
        let why = refusal_of(Reply::body("image/png", body)).await;
        assert!(why.contains("neither a PNG, JPEG, GIF or WebP image nor a PDF"), "{why}");
    }
    for status in [206, 304, 401, 404, 500] {
        let why = refusal_of(Reply::body("image/png", PNG).status(status)).await;
        assert!(why.contains(&format!("answered with status {status}")), "{why}");
    }
}
