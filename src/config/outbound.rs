//! How connections to an upstream are opened: through which proxy, and whose certificates count.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use url::Url;

use super::secret::Secret;

/// How connections to an upstream are opened. Connections of different ways are never shared.
#[derive(Default, PartialEq, Eq)]
pub struct Outbound {
    /// `proxy`; `None`: none.
    pub proxy: Option<Proxy>,
    /// `ca_file`: authorities that are trusted beside the public ones.
    pub authorities: Authorities,
    /// `http2`: HTTP/2 is spoken to those that do.
    pub http2: bool,
}

/// Authorities that are trusted beside the public ones.
pub type Authorities = Vec<TrustAnchor<'static>>;

/// A proxy, through which every connection is a tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub protocol: ProxyProtocol,
    /// Its name or address; an IPv6 address stands in brackets.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Who uses it; `None` where it asks nobody.
    pub login: Option<Login>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// `http://`: HTTP, asked to CONNECT.
    Http,
    /// `socks5://` and `socks5h://`: SOCKS5. Either way the proxy looks names up.
    Socks5,
}

impl ProxyProtocol {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Socks5 => "SOCKS5",
        }
    }
}

/// A user of a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: Secret,
    /// The password; may be empty.
    pub password: Secret,
}

impl fmt::Display for Proxy {
    /// Its address, without the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// SOCKS5 counts the bytes of a user and of a password in one byte.
const MAX_LOGIN_BYTES: usize = 255;
const EXPECTED: &str =
    "expected an address such as http://user:password@proxy.example:8080 or socks5://proxy.example:1080";

impl Proxy {
    /// Reads the address of a proxy. What it says of a mistake does not repeat any of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
        let (protocol, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyProtocol::Http, 80),
            "socks5" | "socks5h" => (ProxyProtocol::Socks5, 1080),
            "https" => return Err("a proxy is spoken to without TLS; write http:// in front of it".to_owned()),
            _ => return Err(EXPECTED.to_owned()),
        };
        // The scheme decides how a host is read, and whether a port that goes without saying is kept.
        let url = Url::parse(&format!("http://{rest}")).map_err(|_| explained(rest))?;
        let port = Url::parse(&format!("socks5://{rest}")).map_err(|_| explained(rest))?.port();
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EXPECTED)?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(explained(rest));
        }
        let login = (!url.username().is_empty() || url.password().is_some())
            .then(|| Some(Login { user: decoded(url.username())?, password: decoded(url.password().unwrap_or(""))? }));
        let login = match login {
            Some(None) => return Err("its user and its password may have 255 bytes each, of UTF-8".to_owned()),
            login => login.flatten(),
        };
        Ok(Self { protocol, host: host.into(), port: port.unwrap_or(default_port), login })
    }
}

/// Signs with a meaning of their own may stand in a password.
fn explained(rest: &str) -> String {
    match rest.contains('@') {
        true => format!("{EXPECTED}; in a password, / ? # and % are written %2F %3F %23 and %25"),
        false => EXPECTED.to_owned(),
    }
}

fn decoded(text: &str) -> Option<Secret> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    (text.len() <= MAX_LOGIN_BYTES).then(|| Secret::new(&*text))
}

/// The authorities in a file of PEM certificates.
pub(super) fn read_ca_file(path: &str) -> Result<Authorities, String> {
    let text = std::fs::read(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    let mut authorities = Vec::new();
    for (nth, certificate) in CertificateDer::pem_slice_iter(&text).enumerate() {
        let certificate = certificate.map_err(|_| format!("certificate {} of the file is no valid PEM", nth + 1))?;
        let anchor = webpki::anchor_from_trusted_cert(&certificate)
            .map_err(|_| format!("certificate {} of the file cannot be read", nth + 1))?;
        authorities.push(anchor.to_owned());
    }
    match authorities.is_empty() {
        true => {
            Err("the file has no certificate in it; expected PEM, beginning with -----BEGIN CERTIFICATE-----"
                .to_owned())
        }
        false => Ok(authorities),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (ProxyProtocol, String, Option<(String, String)>) {
        let proxy = Proxy::parse(text).unwrap_or_else(|message| panic!("{text}: {message}"));
        let login = proxy.login.as_ref();
        let login = login.map(|login| (login.user.expose().to_owned(), login.password.expose().to_owned()));
        (proxy.protocol, proxy.to_string(), login)
    }

    #[test]
    fn a_proxy_is_an_address() {
        use ProxyProtocol::{Http, Socks5};
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, expected) in [
            ("http://proxy.example:8080", (Http, "proxy.example:8080", None)),
            ("HTTP://Proxy.example/", (Http, "proxy.example:80", None)),
            ("socks5://10.0.0.1", (Socks5, "10.0.0.1:1080", None)),
            ("socks5h://u@h:80", (Socks5, "h:80", login("u", ""))),
            ("http://u:p%40%2F%25@[::1]:3128", (Http, "[::1]:3128", login("u", "p@/%"))),
            ("socks5://user:p@ss:wörd@h", (Socks5, "h:1080", login("user", "p@ss:wörd"))),
        ] {
            assert_eq!(read(text), (expected.0, expected.1.to_owned(), expected.2), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_proxy_is_not_repeated() {
        for text in [
            "CANARY",
            "CANARY.example:8080",
            "https://user:CANARY@h:1",
            "socks4://user:CANARY@h:1",
            "http://user:CANARY/x@h:1",
            "http://user:CANARY#x@h:1",
            "http://user:CANARY@h:1/path",
            "http://user:CANARY@:1",
            "http://user:CANARY@h:99999",
            "http://user:%ffCANARY@h:1",
            "socks5://",
        ] {
            let message = Proxy::parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(!message.contains("CANARY"), "{message}");
        }
        let long = format!("socks5://u:{}@h", "p".repeat(256));
        assert!(Proxy::parse(&long).err().unwrap().contains("255 bytes"));
        assert!(Proxy::parse("http://u:a/b@h").err().unwrap().contains("%2F"));
    }

    #[test]
    fn a_file_without_certificates_is_no_ca_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            read_ca_file(path.to_str().unwrap())
        };
        assert!(read("").unwrap_err().contains("no certificate"));
        assert!(
            read(include_str!("../../tests/fixtures/service-account-key.pem")).unwrap_err().contains("no certificate")
        );
        assert!(
            read("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap_err().contains("no valid PEM")
        );
        let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(read(other).unwrap_err().contains("certificate 1 of the file cannot be read"));
        let authority = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
        };
        let two = format!("# ours\n{}\n{}", authority("one.example"), authority("two.example"));
        assert_eq!(read(&two).unwrap().len(), 2);
        assert!(read(&format!("{two}{other}")).unwrap_err().contains("certificate 3"));
        assert!(read_ca_file("/nowhere/ca.pem").unwrap_err().contains("cannot be read"));
    }
}
