//! `trusted_proxies`: whose word is taken for where a request comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::diagnostic::Report;
use super::path::KeyPath;
use super::suggest::quoted;
use super::typed::{Texts, Typed};

/// Loopback and the private networks.
const USUAL: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
];

/// Networks in which proxies stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl Default for TrustedProxies {
    fn default() -> Self {
        Self(USUAL.to_vec())
    }
}

impl TrustedProxies {
    /// All of them.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }

    /// Whether this address is one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The networks behind `trusted_proxies`. A mistake must not make anybody trusted.
pub(super) fn resolve(written: Typed<Texts>, place: &KeyPath, report: &mut Report) -> TrustedProxies {
    if written.is_absent() {
        return TrustedProxies::default();
    }
    let Some(Texts(texts)) = written.take("trusted_proxies", place, report) else { return TrustedProxies(Vec::new()) };
    let mut networks = Vec::new();
    for text in &texts {
        let text = text.trim();
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => report.error(
                &place.key("trusted_proxies"),
                format!("{} is no address or network, such as 10.0.0.1 or 10.0.0.0/8", quoted(text)),
            ),
        }
    }
    TrustedProxies(networks)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn resolved(value: serde_json::Value) -> (TrustedProxies, usize) {
        let mut report = Report::default();
        let written = Typed::<Texts>::deserialize(value).unwrap();
        let proxies = resolve(written, &KeyPath::default(), &mut report);
        (proxies, report.into_findings().len())
    }

    fn contains(proxies: &TrustedProxies, address: &str) -> bool {
        proxies.contain(address.parse().unwrap())
    }

    #[test]
    fn private_networks_are_trusted_unless_others_are_named() {
        let (usual, _) = resolved(json!(null));
        for (address, expected) in [
            ("127.0.0.1", true),
            ("172.17.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::1", true),
            ("8.8.8.8", false),
            ("172.32.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(contains(&usual, address), expected, "{address}");
        }
        let (named, mistakes) = resolved(json!(["203.0.113.7", "198.51.100.0/24"]));
        assert_eq!(mistakes, 0);
        assert!(contains(&named, "203.0.113.7") && contains(&named, "198.51.100.200"));
        assert!(!contains(&named, "127.0.0.1"));
        assert!(!contains(&resolved(json!([])).0, "127.0.0.1"), "an empty list trusts nobody");
    }

    #[test]
    fn a_mistake_trusts_nobody() {
        let (proxies, mistakes) = resolved(json!(["everyone", "10.0.0.0/33"]));
        assert_eq!(mistakes, 2);
        assert!(!contains(&proxies, "10.0.0.1"));
    }
}
