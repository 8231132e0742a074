//! What the environment variables say.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// The settings that come from environment variables.
#[derive(Debug, PartialEq, Eq)]
pub struct Environment {
    /// `HOST` and `PORT`.
    pub listen: Vec<SocketAddr>,
    /// `TIMEOUT`: to the first event, and between events.
    pub patience: Duration,
    /// `DATABASE_URL`; `None` with `DISABLE_DATABASE=true`.
    pub database: Option<PathBuf>,
    /// `SHUTDOWN_TIMEOUT`: how long answers may take to end when the process is to end.
    pub shutdown_timeout: Duration,
    /// `CONFIG_REFRESH`: how often an address is asked for another configuration; `None` with `0`.
    pub config_refresh: Option<Duration>,
}

/// A variable that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name}: expected {expected}")]
pub struct InvalidVariable {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
}

const DEFAULT_PORT: u16 = 8000;
const DEFAULT_HOST: &str = "0.0.0.0";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(100);
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_CONFIG_REFRESH: Duration = Duration::from_secs(60);
/// Points in time that far ahead can still be told; with any number of seconds they could not.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
const DEFAULT_DATABASE: &str = "data/stats.db";

impl Environment {
    /// Reads the variables that `get` answers for. An empty one counts as unset.
    ///
    /// # Errors
    ///
    /// The first variable that cannot be used.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidVariable> {
        let get = |name| get(name).filter(|value| !value.trim().is_empty());
        let port = match get("PORT") {
            None => DEFAULT_PORT,
            Some(port) => port
                .trim()
                .parse()
                .map_err(|_| InvalidVariable { name: "PORT", expected: "a port number from 0 to 65535" })?,
        };
        let host = get("HOST").unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let listen = (host.trim(), port).to_socket_addrs().map_err(|_| InvalidVariable {
            name: "HOST",
            expected: "an address of this machine, such as 0.0.0.0 or 127.0.0.1",
        })?;
        let refresh = seconds_or_none("CONFIG_REFRESH", get("CONFIG_REFRESH"), DEFAULT_CONFIG_REFRESH)?;
        Ok(Self {
            listen: listen.collect(),
            patience: patience(get("TIMEOUT"))?,
            database: database(&get),
            shutdown_timeout: seconds_or_none("SHUTDOWN_TIMEOUT", get("SHUTDOWN_TIMEOUT"), DEFAULT_SHUTDOWN_TIMEOUT)?,
            config_refresh: Some(refresh).filter(|refresh| !refresh.is_zero()),
        })
    }

    /// Reads the variables of the database alone.
    pub fn read_database(get: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        database(&|name| get(name).filter(|value| !value.trim().is_empty()))
    }

    /// Reads `TIMEOUT` alone.
    ///
    /// # Errors
    ///
    /// It cannot be used.
    pub fn read_patience(get: impl Fn(&str) -> Option<String>) -> Result<Duration, InvalidVariable> {
        patience(get("TIMEOUT").filter(|value| !value.trim().is_empty()))
    }
}

/// `TIMEOUT` in seconds, fractions allowed.
fn patience(timeout: Option<String>) -> Result<Duration, InvalidVariable> {
    let invalid = InvalidVariable { name: "TIMEOUT", expected: "a number of seconds, more than 0 and up to a year" };
    match timeout.map_or(Some(DEFAULT_TIMEOUT), |timeout| seconds(&timeout)) {
        Some(patience) if !patience.is_zero() => Ok(patience),
        _ => Err(invalid),
    }
}

/// A number of seconds for which none is good as well.
fn seconds_or_none(name: &'static str, value: Option<String>, default: Duration) -> Result<Duration, InvalidVariable> {
    value
        .map_or(Some(default), |value| seconds(&value))
        .ok_or(InvalidVariable { name, expected: "a number of seconds, from 0 up to a year" })
}

fn seconds(value: &str) -> Option<Duration> {
    let seconds = Duration::try_from_secs_f64(value.trim().parse().ok()?).ok()?;
    Some(seconds).filter(|seconds| *seconds <= MAX_TIMEOUT)
}

/// The file that the diesel CLI finds under the same variable.
fn database(get: &impl Fn(&'static str) -> Option<String>) -> Option<PathBuf> {
    let off = get("DISABLE_DATABASE").map(|value| value.trim().to_ascii_lowercase());
    if matches!(off.as_deref(), Some("true" | "1" | "yes" | "on")) {
        return None;
    }
    let url = get("DATABASE_URL").unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("file:")).unwrap_or(&url);
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Environment, String> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Environment::read(find).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let expected = Environment {
            listen: vec!["0.0.0.0:8000".parse().unwrap()],
            patience: Duration::from_secs(100),
            database: Some("data/stats.db".into()),
            shutdown_timeout: Duration::from_secs(30),
            config_refresh: Some(Duration::from_secs(60)),
        };
        assert_eq!(read(&[]).unwrap(), expected);
        assert_eq!(read(&[("PORT", ""), ("TIMEOUT", " ")]).unwrap(), expected);
    }

    #[test]
    fn variables_are_taken() {
        let read =
            read(&[("HOST", "127.0.0.1"), ("PORT", "81"), ("TIMEOUT", "2.5"), ("DATABASE_URL", "sqlite://x.db")]);
        let read = read.unwrap();
        assert_eq!(read.listen, ["127.0.0.1:81".parse().unwrap()]);
        assert_eq!(read.patience, Duration::from_millis(2500));
        assert_eq!(read.database, Some("x.db".into()));
    }

    #[test]
    fn no_time_at_all_is_a_time_to_end_and_none_to_refresh() {
        let none = read(&[("SHUTDOWN_TIMEOUT", "0"), ("CONFIG_REFRESH", "0")]).unwrap();
        assert_eq!((none.shutdown_timeout, none.config_refresh), (Duration::ZERO, None));
        for name in ["SHUTDOWN_TIMEOUT", "CONFIG_REFRESH"] {
            let wrong = read(&[(name, "soon")]).unwrap_err();
            assert!(wrong.starts_with(name), "{wrong}");
        }
    }

    #[test]
    fn the_database_can_be_switched_off() {
        for value in ["true", "True", "1"] {
            assert_eq!(read(&[("DISABLE_DATABASE", value)]).unwrap().database, None);
        }
        assert!(read(&[("DISABLE_DATABASE", "false")]).unwrap().database.is_some());
    }

    #[test]
    fn a_wrong_variable_is_named() {
        assert!(read(&[("PORT", "http")]).unwrap_err().starts_with("PORT: expected a port"));
        for timeout in ["0", "-1", "soon", "NaN", "inf", "1e18", "1e300"] {
            assert!(read(&[("TIMEOUT", timeout)]).unwrap_err().starts_with("TIMEOUT"), "{timeout}");
        }
        assert!(read(&[("HOST", "not a host")]).unwrap_err().starts_with("HOST"));
    }
}
