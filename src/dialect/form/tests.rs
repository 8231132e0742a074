use proptest::prelude::*;

use super::*;

const BOUNDARY: &str = "b0undary";

fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Form, Failure> {
    let mut scanner = Scanner::new(BOUNDARY);
    pieces.into_iter().try_for_each(|piece| scanner.push(piece))?;
    scanner.finish()
}

fn whole(form: impl AsRef<[u8]>) -> Result<Form, Failure> {
    scan([form.as_ref()])
}

fn refusal(form: impl AsRef<[u8]>) -> String {
    let failure = whole(form).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidRequest);
    failure.message
}

/// A part with this name and content.
fn text(name: &str, content: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let header =
        format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg");
    [format!("--{BOUNDARY}\r\n{header}\r\n\r\n").as_bytes(), content, b"\r\n"].concat()
}

fn end() -> String {
    format!("--{BOUNDARY}--\r\n")
}

#[test]
fn a_form_is_read_whatever_the_order_of_its_fields() {
    let audio = b"\0\xff\r\n--b0undar\r\n\r\n--";
    let parts = [file("file", audio), text("model", "whisper-1").into(), text("language", "").into(), end().into()];
    let form = whole(parts.concat()).unwrap();
    assert_eq!(form.text("model").unwrap(), "whisper-1");
    assert_eq!(form.text("language").unwrap(), "");
    assert_eq!((form.text("file"), form.text("prompt")), (None, None));
    assert!(form.has_file("file") && !form.has_file("model") && !form.has_file("fil"));
    assert_eq!(form.parts[0].content.concat(), audio);
    assert_eq!(form.parts[0].header.as_ref(), &file("file", b"")[BOUNDARY.len() + 4..][..form.parts[0].header.len()]);
}

#[test]
fn files_in_a_list_count_as_files_of_its_name() {
    for name in ["image", "image[]", "image[0]"] {
        let form = whole([file(name, b"x"), end().into()].concat()).unwrap();
        assert!(form.has_file("image"), "{name}");
        assert!(!form.has_file("mask"), "{name}");
    }
    assert!(!whole(text("image", "x") + &end()).unwrap().has_file("image"));
}

#[test]
fn what_is_around_the_parts_is_left_out() {
    for form in [
        format!("This is a form.\r\n{}{}epilogue", text("a", "1"), end()),
        format!("\r\n{}--{BOUNDARY}--", text("a", "1")),
        format!("{}{}", text("a", "1").replace(BOUNDARY, &format!("{BOUNDARY} \t")), end()),
    ] {
        assert_eq!(whole(&form).unwrap().text("a").unwrap(), "1", "{form}");
    }
    assert_eq!(whole(end()).unwrap(), Form::default());
}

#[test]
fn a_form_that_is_not_whole_is_refused() {
    let form = text("a", "1") + &end();
    let last_boundary = form.len() - 2;
    for length in 0..last_boundary {
        refusal(&form[..length]);
    }
    assert!(whole(&form[..last_boundary]).is_ok());
    assert!(refusal(text("a", "1")).contains("ended before"));
    assert!(refusal("{\"model\":\"m\"}").contains("does not begin"));
}

#[test]
fn a_boundary_within_a_line_is_refused() {
    assert!(refusal(text("a", &format!("1\r\n--{BOUNDARY}2")) + &end()).contains("not alone"));
}

#[test]
fn too_much_of_anything_is_refused_long_before_all_of_it_has_come() {
    fn refused_after(form: impl IntoIterator<Item = Vec<u8>>) -> (usize, String) {
        let mut scanner = Scanner::new(BOUNDARY);
        let mut length = 0;
        for piece in form {
            length += piece.len();
            if let Err(failure) = scanner.push(&piece) {
                return (length, failure.message);
            }
        }
        panic!("nothing was refused");
    }
    let endless = |first: String, more: &str| {
        let more: Vec<u8> = more.repeat(100).into();
        std::iter::once(first.into_bytes()).chain(std::iter::repeat_n(more, 10_000))
    };
    let start = format!("--{BOUNDARY}\r\n");
    let open_text = |name: &str| text(name, "").trim_end().to_owned() + "\r\n\r\n";
    for (form, most, why) in [
        (endless(String::new(), "x"), 5_000, "does not begin"),
        (endless(String::new(), &text("a", "1")), 100_000, "more than 1000 parts"),
        (endless(start.clone(), "x"), 20_000, "longer than 16384"),
        (endless(start, "X: 1\r\n"), 20_000, "longer than 16384"),
        (endless(open_text("model"), "x"), 1_000, "too long"),
        (endless(end(), "x"), 5_000, "follows the last"),
    ] {
        let (length, message) = refused_after(form);
        assert!(length <= most, "{length} bytes: {message}");
        assert!(message.contains(why), "{message}");
    }
    let header = "X: 1\r\n".repeat(65);
    assert!(refusal(format!("--{BOUNDARY}\r\n{header}\r\n")).contains("64 header fields"));
}

#[test]
fn fields_that_the_gateway_reads_are_sent_once_and_as_text() {
    for name in ["model", "stream", "response_format", "prompt"] {
        assert!(refusal(text(name, "1") + &text(name, "1")).contains("twice"));
        assert!(refusal(file(name, b"1")).contains("as a file"));
        assert!(refusal(text(&name.to_uppercase(), "1")).contains("other letters"));
    }
    let twice = text("timestamp_granularities[]", "word") + &text("timestamp_granularities[]", "segment") + &end();
    assert_eq!(whole(twice).unwrap().parts.len(), 2);
}

#[test]
fn a_model_has_a_name() {
    let with_model = |model: &[u8]| {
        let (before, behind) = (text("model", ""), end());
        whole([&before.as_bytes()[..before.len() - 2], model, b"\r\n", behind.as_bytes()].concat())
    };
    assert!(with_model(&[b'm'; 512]).is_ok());
    for model in [&b""[..], &b"\xff"[..], &[b'm'; 513][..]] {
        assert_eq!(with_model(model).unwrap_err().param.as_deref(), Some("model"));
    }
}

#[test]
fn stream_is_true_or_false() {
    for (value, streams) in [("true", true), ("True", true), ("1", true), ("false", false), ("0", false), ("", false)] {
        assert_eq!(whole(text("stream", value) + &end()).unwrap().stream(), streams);
    }
    assert!(!whole(end()).unwrap().stream());
    assert!(refusal(text("stream", "maybe") + &end()).contains("true or false"));
}

#[test]
fn a_refusal_does_not_repeat_what_the_client_wrote() {
    let secret = "my secret";
    for form in [
        text("model", &secret.repeat(100)),
        text("stream", secret),
        text(&format!("a\"; name=\"{secret}"), "x"),
        text("a", "x").replace("form-data", secret),
        text("a", "x").replace("\r\n\r\n", &format!("\r\n{secret}\r\n\r\n")),
        secret.to_owned(),
    ] {
        assert!(!refusal(form + &end()).contains(secret));
    }
}

#[test]
fn only_the_model_is_rewritten() {
    let typed_model = text("model", "alias").replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n");
    let parts = [file("file", b"\0audio\xff"), text("b[]", "1").into(), typed_model.into(), text("b[]", "2").into()];
    let form = whole([parts.concat(), end().into()].concat()).unwrap();
    let sent = form.write("fresh", ("model", "whisper-1")).concat();
    let expected = [file("file", b"\0audio\xff"), text("b[]", "1").into(), text("model", "whisper-1").into()].concat();
    let expected = [expected, text("b[]", "2").into(), end().into()].concat();
    assert_eq!(sent, replaced(&expected, BOUNDARY, "fresh"));
}

#[test]
fn a_model_is_added_where_there_is_none() {
    let form = whole(text("a", "1") + &end()).unwrap();
    let expected = text("model", "m") + &text("a", "1") + &end();
    assert_eq!(form.write(BOUNDARY, ("model", "m")).concat(), expected.as_bytes());
}

#[test]
fn contents_are_written_where_they_lie() {
    let audio = vec![7; 1_000_000];
    let form = whole([file("file", &audio), end().into()].concat()).unwrap();
    let segments = form.write("fresh", ("model", "m"));
    for slice in &form.parts[0].content {
        assert!(segments.iter().any(|segment| segment.as_ptr() == slice.as_ptr() && segment.len() == slice.len()));
    }
}

#[test]
fn what_looks_like_a_boundary_over_and_over_costs_no_more_than_anything_else() {
    for bomb in [&b"\r\n--b0undar"[..], b"\r\n--b0undar\r", b"\r\n\r\n", b"\r\n--", b"\r", b"-"] {
        let content = bomb.repeat(4_000_000 / bomb.len());
        let form = [file("file", &content), end().into()].concat();
        let scanned = scan(form.chunks(1000)).unwrap();
        assert_eq!(scanned.parts[0].content.concat(), content);
    }
}

fn replaced(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, from.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Cuts bytes at these places.
fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let starts = std::iter::once(0).chain(places.iter().copied());
    starts.zip(places.iter().copied().chain([bytes.len()])).map(|(from, to)| &bytes[from..to]).collect()
}

/// What forms are made of, and what looks like it.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "--b0undary",
        "\r\n--b0undary",
        "\r\n--b0undar",
        "\r\n",
        "\r\n\r\n",
        "--",
        "\r",
        "Content-Disposition: form-data; name=\"a\"",
        "Content-Disposition: form-data; name=\"model\"",
        "; filename=\"x\"",
        "Content-Type: x",
        " ",
        "true",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(|known| known.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

/// A form's fields: name, whether it is a file, content.
fn fields() -> impl Strategy<Value = Vec<(String, bool, Vec<u8>)>> {
    let content = prop::collection::vec(fragment(), 0..6)
        .prop_map(|fragments| fragments.concat())
        .prop_filter("no boundary within", |content| memchr::memmem::find(content, BOUNDARY.as_bytes()).is_none());
    prop::collection::vec(("[a-zé\\[\\] ]{1,5}", any::<bool>(), content), 0..6)
}

fn written(fields: &[(String, bool, Vec<u8>)]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, is_file, content) in fields {
        let part = text(name, "");
        form.extend_from_slice(&if *is_file { file(name, content) } else { Vec::new() });
        if !is_file {
            form.extend_from_slice(&part.as_bytes()[..part.len() - 2]);
            form.extend_from_slice(content);
            form.extend_from_slice(b"\r\n");
        }
    }
    form.extend_from_slice(end().as_bytes());
    form
}

proptest! {
    #[test]
    fn any_cuts_give_the_same_form(fields in fields(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let form = written(&fields);
        let scanned = whole(&form).unwrap();
        prop_assert_eq!(scanned.parts.len(), fields.len());
        for (part, (name, is_file, content)) in scanned.parts.iter().zip(&fields) {
            prop_assert_eq!((&part.name, part.is_file), (name, *is_file));
            prop_assert_eq!(&part.content.concat(), content);
        }
        prop_assert_eq!(&scan(cut(&form, &cuts)).unwrap(), &scanned);
        prop_assert_eq!(&scan(form.chunks(1)).unwrap(), &scanned);
    }

    #[test]
    fn what_is_written_is_what_was_scanned(fields in fields()) {
        let form = whole(written(&fields)).unwrap();
        let mut added = whole(form.write(BOUNDARY, ("model", "m")).concat()).unwrap();
        prop_assert_eq!(added.text("model").unwrap(), "m");
        let again = added.write(BOUNDARY, ("model", "m")).concat();
        prop_assert_eq!(&whole(again).unwrap(), &added);
        added.parts.remove(0);
        prop_assert_eq!(added, form);
    }

    #[test]
    fn any_bytes_are_a_form_or_a_refusal_whatever_the_cuts(
        fragments in prop::collection::vec(fragment(), 0..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let bytes = fragments.concat();
        let scanned = whole(&bytes);
        prop_assert_eq!(&scan(cut(&bytes, &cuts)), &scanned);
        prop_assert_eq!(&scan(bytes.chunks(1)), &scanned);
    }
}
