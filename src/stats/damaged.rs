//! A database file that is damaged is kept for whoever wants to rescue it, out of the way of a new one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

/// Renames the file to `….corrupt-20261122T093000Z` and what SQLite keeps beside it likewise. The file must not be
/// open. Returns its new name.
///
/// # Errors
///
/// The folder cannot be written to.
pub fn set_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let aside = free_name(path, &DateTime::<Utc>::from(now).format("%Y%m%dT%H%M%SZ").to_string());
    // The file itself goes last: a write-ahead log that is left over must never meet a new file.
    for suffix in ["-wal", "-shm"] {
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn free_name(path: &Path, time: &str) -> PathBuf {
    let first = with_suffix(path, &format!(".corrupt-{time}"));
    let further = (2..).map(|number| with_suffix(path, &format!(".corrupt-{time}-{number}")));
    std::iter::once(first.clone()).chain(further).find(|name| !name.exists()).unwrap_or(first)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_damaged_file_does_not_replace_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.db");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        for (content, name) in
            [("one", "stats.db.corrupt-20261118T110640Z"), ("two", "stats.db.corrupt-20261118T110640Z-2")]
        {
            fs::write(&path, content).unwrap();
            fs::write(with_suffix(&path, "-wal"), content).unwrap();
            let aside = set_aside(&path, now).unwrap();
            assert_eq!(aside, folder.path().join(name));
            assert_eq!(fs::read_to_string(&aside).unwrap(), content);
            assert_eq!(fs::read_to_string(with_suffix(&aside, "-wal")).unwrap(), content);
            assert!(!path.exists() && !with_suffix(&path, "-wal").exists());
        }
    }
}
