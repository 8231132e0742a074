//! The map of the house holds: rooms use each other downwards only, and only the room that should knows a crate.

use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may use. `app`, `cli` and the crate root are above all of them.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("http", &["relay", "actors", "upstream", "dialect", "routing", "stats", "metrics", "config", "canon"]),
    ("relay", &["actors", "upstream", "dialect", "routing", "stats", "metrics", "config", "canon"]),
    // They prepare targets and ask for lists of models.
    ("actors", &["upstream", "routing", "stats", "metrics", "config", "canon"]),
    // It reads what an upstream says of an error.
    ("upstream", &["dialect", "config", "canon"]),
    ("dialect", &["canon"]),
    ("routing", &["config", "canon"]),
    ("stats", &["config", "canon"]),
    ("metrics", &["canon"]),
    ("config", &[]),
    ("canon", &[]),
];

/// Who may name a crate or a path; a folder stands for all that is in it.
const ONLY_IN: [(&str, &[&str]); 14] = [
    ("awc", &["upstream"]),
    ("actix_http", &["upstream"]),
    ("rustls", &["upstream"]),
    ("actix_tls", &["upstream"]),
    ("serde_yaml", &["config/load.rs", "config/load"]),
    ("diesel", &["stats"]),
    ("diesel_migrations", &["stats"]),
    ("actix", &["actors", "app.rs"]),
    ("dashmap", &["actors"]),
    ("tokio", &["actors", "upstream", "relay", "http/body.rs", "http/connections.rs", "app.rs", "cli", "main.rs"]),
    ("notify", &["cli/reload/watch.rs"]),
    ("actix_web", &["http", "relay", "app.rs", "cli", "main.rs"]),
    ("std::net", &["http", "relay", "upstream", "config/proxies.rs", "stats/rows.rs", "app.rs", "cli", "main.rs"]),
    ("uuid", &["canon", "http", "cli"]),
];

/// What rooms of pure logic never name: time is an argument there.
const CLOCKS: [&str; 4] = ["Instant", "SystemTime", "chrono", "sleep"];
const WITHOUT_CLOCK: [&str; 3] = ["routing", "dialect", "canon"];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file: its path below `src`, and its code without comments and strings.
fn sources() -> Vec<(String, String)> {
    fn visit(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, code_of(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    let mut found = Vec::new();
    visit(&src(), &mut found);
    found.sort();
    found
}

fn code_of(text: &str) -> String {
    let without_comments = text.lines().map(|line| line.split("//").next().unwrap());
    // Every other part between quotes is a string; escaped quotes and the like only make code of text, which then
    // would have to spell a path.
    let strings = |line: &str| line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    without_comments.map(strings).collect::<Vec<_>>().join("\n")
}

/// The words that follow `path` in `code`: for `a::` in `use a::{b::c, d};` these are `b` and `d`.
fn named_after(path: &str, code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(path) {
        let stands_alone = !code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before));
        let rest = &code[at + path.len()..];
        if !stands_alone {
            continue;
        }
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(group) => names.extend(heads_of_group(group)),
        }
    }
    names
}

/// The first words of the entries of a `{…}` group, without those of groups within it.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut entry = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(&std::mem::take(&mut entry))),
            c if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    heads.push(word(&entry));
    heads.retain(|head| !head.is_empty());
    heads
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn room_of(file: &str) -> &str {
    let room = file.split('/').next().unwrap();
    room.strip_suffix(".rs").unwrap_or(room)
}

fn forbidden_arrows(file: &str, code: &str) -> Vec<String> {
    let room = room_of(file);
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
        assert!(["app", "cli", "lib", "main"].contains(&room), "{file}: in which layer is {room}?");
        return Vec::new();
    };
    let used = named_after("crate::", code).into_iter();
    used.filter(|used| used != room && !allowed.contains(&used.as_str()))
        .map(|used| format!("{file}: {room} may not use {used}"))
        .collect()
}

/// Whether `code` names this crate or path, rather than something that only ends like it.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || "_:.".contains(c));
        starts && code[at + path.len()..].starts_with("::")
    })
}

#[test]
fn rooms_use_each_other_downwards_only() {
    let sources = sources();
    assert!(sources.len() > 40, "only {} files were found", sources.len());
    for (room, _) in MAY_USE {
        assert!(sources.iter().any(|(file, _)| room_of(file) == room), "there is no {room}");
    }
    let forbidden: Vec<String> = sources.iter().flat_map(|(file, code)| forbidden_arrows(file, code)).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut forbidden = Vec::new();
    for (file, code) in sources() {
        for (name, places) in ONLY_IN {
            let is_allowed = places
                .iter()
                .any(|place| file.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
            if !is_allowed && names(&code, name) {
                forbidden.push(format!("{file} may not name {name}"));
            }
        }
    }
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

#[test]
fn pure_rooms_know_no_clock() {
    for (file, code) in sources() {
        if WITHOUT_CLOCK.contains(&room_of(&file)) {
            for clock in CLOCKS {
                assert!(!code.contains(clock), "{file} names {clock}");
            }
        }
    }
}

#[test]
fn forbidden_arrows_are_recognised() {
    let forbidden = |file, code: &str| forbidden_arrows(file, &code_of(code)).len();
    assert_eq!(forbidden("dialect/x.rs", "use crate::canon::{Failure, Usage};"), 0);
    assert_eq!(forbidden("dialect/x.rs", "use crate::dialect::sse;"), 0);
    assert_eq!(forbidden("dialect/x.rs", "use crate::config::Channel;"), 1);
    assert_eq!(
        forbidden("routing/x.rs", "use crate::{\n  canon::{Next, Failure},\n  actors::Lease,\n upstream\n};"),
        2
    );
    assert_eq!(forbidden("upstream/x.rs", "fn f() { crate::relay::f() }"), 1);
    assert_eq!(forbidden("canon/x.rs", "/// [`Lease`](crate::actors::Lease)\nfn f() {}"), 0);
    assert!(names("use awc::Client;", "awc") && names("a(awc::b)", "awc"));
    assert!(!names("use rawc::Client;", "awc") && !names("tokio_rustls::x", "rustls"));
}
