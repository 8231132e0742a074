//! Where the text of the configuration comes from.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

use super::suggest::shown;

/// The file that is looked for when none is named.
pub const DEFAULT_FILE: &str = "api.yaml";

/// Where to read the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of this machine.
    File(PathBuf),
    /// Something to fetch; http or https.
    Url(Url),
}

impl fmt::Display for Source {
    /// The name for messages: of an address only what cannot be a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Url(url) => f.write_str(&without_credentials(url)),
        }
    }
}

/// The address without user, password, query and fragment, and with masked tokens in its path.
pub fn without_credentials(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path: Vec<String> = url.path().split('/').map(shown).collect();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), path.join("/"))
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Neither a file nor an address.
    #[error("there is no configuration: {0}, and CONFIG_URL is not set")]
    Nothing(Absence),
    /// The file that was named is not there.
    #[error("{0}")]
    Absent(Absence),
    /// `CONFIG_URL` makes no sense. It is not repeated, since it may contain a password.
    #[error("CONFIG_URL is neither the path of a file nor an http, https or file address")]
    Address,
    /// The file is there and cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file is no text.
    #[error("{} is not UTF-8 text{hint}", path.display())]
    Encoding {
        /// Which file.
        path: PathBuf,
        /// What it could be instead.
        hint: &'static str,
    },
}

/// In which way a file is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is nothing.
    Missing(PathBuf),
    /// There is nothing in it but white space and comments.
    Empty(PathBuf),
    /// It is a directory.
    Directory(PathBuf),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Absence::Missing(path) => write!(f, "{} does not exist", path.display()),
            Absence::Empty(path) => write!(f, "{} is empty", path.display()),
            Absence::Directory(path) => write!(
                f,
                "{} is a directory (a container runtime makes one when the file to be mounted does not exist)",
                path.display()
            ),
        }
    }
}

/// Decides: the file named, else `api.yaml` in the working directory, else `CONFIG_URL`.
pub fn find_source(
    explicit: Option<&Path>,
    working_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Source, SourceError> {
    if let Some(file) = explicit {
        return existing(working_dir.join(file))?.map_err(SourceError::Absent);
    }
    let absence = match existing(working_dir.join(DEFAULT_FILE))? {
        Ok(source) => return Ok(source),
        Err(absence) => absence,
    };
    let address = env("CONFIG_URL").unwrap_or_default();
    match address.trim() {
        "" => Err(SourceError::Nothing(absence)),
        address => from_address(address, working_dir),
    }
}

fn from_address(address: &str, working_dir: &Path) -> Result<Source, SourceError> {
    let path = match Url::parse(address) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => return Ok(Source::Url(url)),
        Ok(url) if url.scheme() == "file" => url.to_file_path().map_err(|()| SourceError::Address)?,
        _ if address.contains("://") => return Err(SourceError::Address),
        _ => working_dir.join(address),
    };
    existing(path)?.map_err(SourceError::Absent)
}

/// The file as a source if there is something in it.
fn existing(path: PathBuf) -> Result<Result<Source, Absence>, SourceError> {
    if path.is_dir() {
        return Ok(Err(Absence::Directory(path)));
    }
    match std::fs::read(&path) {
        Ok(content) if is_empty(&content) => Ok(Err(Absence::Empty(path))),
        Ok(_) => Ok(Ok(Source::File(path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err(Absence::Missing(path))),
        Err(error) => Err(SourceError::Read { path, error }),
    }
}

fn is_empty(content: &[u8]) -> bool {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    content.split(|byte| matches!(byte, b'\n' | b'\r')).all(|line| {
        let line = line.trim_ascii();
        line.is_empty() || line.starts_with(b"#") || line == b"---"
    })
}

/// The text of a file.
pub fn read_file(path: &Path) -> Result<String, SourceError> {
    let content = std::fs::read(path).map_err(|error| SourceError::Read { path: path.to_owned(), error })?;
    String::from_utf8(content).map_err(|error| {
        let content = error.as_bytes();
        let is_utf16 = content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff");
        let hint = if is_utf16 { "; it looks like UTF-16, save it as UTF-8" } else { "; save it as UTF-8" };
        SourceError::Encoding { path: path.to_owned(), hint }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn find(dir: &Path, explicit: Option<&str>, address: Option<&str>) -> Result<Source, String> {
        let env = |name: &str| if name == "CONFIG_URL" { address.map(str::to_owned) } else { None };
        find_source(explicit.map(Path::new), dir, &env).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_shown_without_what_could_be_a_credential() {
        let shown = |url: &str| without_credentials(&Url::parse(url).unwrap());
        assert_eq!(shown("http://u:p@h:81/v1/chat?key=k#f"), "http://h:81/v1/chat");
        assert!(!shown("https://h/sk-CANARY/v1").contains("CANARY"));
    }

    #[test]
    fn the_file_comes_before_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("api.yaml");
        fs::write(&file, "providers: []\n").unwrap();
        assert_eq!(find(dir.path(), None, Some("https://h/api.yaml")), Ok(Source::File(file)));
    }

    #[test]
    fn a_missing_or_empty_file_or_a_directory_leaves_it_to_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let url = Source::Url(Url::parse("https://user:pw@h/api.yaml?token=t").unwrap());
        let address = Some("https://user:pw@h/api.yaml?token=t");
        assert_eq!(find(dir.path(), None, address), Ok(url.clone()));
        fs::write(dir.path().join("api.yaml"), "\u{feff}# nothing\r\n\n---\n  \t\n").unwrap();
        assert_eq!(find(dir.path(), None, address), Ok(url.clone()));
        assert!(find(dir.path(), None, None).unwrap_err().contains("is empty, and CONFIG_URL is not set"));
        fs::remove_file(dir.path().join("api.yaml")).unwrap();
        fs::create_dir(dir.path().join("api.yaml")).unwrap();
        assert_eq!(find(dir.path(), None, address), Ok(url.clone()));
        assert!(find(dir.path(), None, Some(" ")).unwrap_err().contains("is a directory"));
        assert_eq!(url.to_string(), "https://h/api.yaml");
    }

    #[test]
    fn the_address_may_be_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other.yaml");
        fs::write(&other, "a: 1").unwrap();
        let file = Ok(Source::File(other.clone()));
        assert_eq!(find(dir.path(), None, Some("other.yaml")), file);
        assert_eq!(find(dir.path(), None, Some(&format!("file://{}", other.display()))), file);
        assert!(find(dir.path(), None, Some("missing.yaml")).unwrap_err().contains("does not exist"));
        let refused = find(dir.path(), None, Some("ftp://user:CANARY@h/x")).unwrap_err();
        assert!(refused.starts_with("CONFIG_URL") && !refused.contains("CANARY"), "{refused}");
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("api.yaml"), "a: 1").unwrap();
        assert!(find(dir.path(), Some("mine.yaml"), Some("https://h/")).unwrap_err().ends_with("does not exist"));
        fs::write(dir.path().join("mine.yaml"), "a: 1").unwrap();
        assert_eq!(find(dir.path(), Some("mine.yaml"), None), Ok(Source::File(dir.path().join("mine.yaml"))));
    }

    #[test]
    fn a_file_that_is_no_text_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("api.yaml");
        fs::write(&file, b"\xff\xfea\0:\0").unwrap();
        assert!(read_file(&file).unwrap_err().to_string().contains("UTF-16"));
        fs::write(&file, b"a: caf\xe9").unwrap();
        assert!(read_file(&file).unwrap_err().to_string().contains("save it as UTF-8"));
    }
}
