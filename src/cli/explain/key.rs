//! Which client key is meant.

use std::sync::Arc;

use crate::config::{ClientKey, ClientKeys, aligned};

/// The key that is written like this: whole, or by something that is true of no other. Its position
/// counts from one, in the order of the table of `uni-api check`.
///
/// # Errors
///
/// None or several are; what to tell the user, in lines.
pub(super) fn find<'a>(keys: &'a ClientKeys, written: &str) -> Result<&'a Arc<ClientKey>, String> {
    let written = written.trim();
    if let Some(key) = keys.find(written.as_bytes()) {
        return Ok(key);
    }
    // As they can be typed, and as they stand in headers.
    let masked = written.replace("...", "…").replace("..", "…");
    let position = written.parse::<usize>().ok().and_then(|position| position.checked_sub(1));
    let fits = |(at, key): &(usize, &'a Arc<ClientKey>)| {
        position == Some(*at)
            || key.secret.masked() == masked
            || *key.label == *masked
            || (key.is_admin && written.eq_ignore_ascii_case("admin"))
    };
    let all: Vec<_> = keys.iter().enumerate().collect();
    let found: Vec<_> = all.iter().filter(|key| fits(key)).collect();
    match found.as_slice() {
        [(_, key)] => Ok(key),
        // What was written may be a key, and is not repeated.
        [] => Err(format!("no client key is like that; there are\n{}", list(all.iter()))),
        several => {
            let several = list(several.iter().copied());
            Err(format!("several client keys are like that; give the position of one of them\n{several}"))
        }
    }
}

fn list<'a>(keys: impl Iterator<Item = &'a (usize, &'a Arc<ClientKey>)>) -> String {
    let role = |key: &ClientKey| if key.is_admin { "admin" } else { "" }.to_owned();
    let row = |(at, key): &(usize, &Arc<ClientKey>)| vec![(at + 1).to_string(), key.secret.masked(), role(key)];
    aligned(&keys.map(row).collect::<Vec<_>>())
}
