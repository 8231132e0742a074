//! Which addresses belong to the public internet.
//!
//! Source: IANA's IPv4 and IPv6 special-purpose address registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks and their prefix lengths, in bits.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, and behind it what is reserved, up to the broadcast address.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
    // Azure's platform answers virtual machines here with their secrets, though the registry does
    // not know it: Microsoft's documentation, "What is IP address 168.63.129.16?".
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// All of IPv6 that is public lies in here, …
const GLOBAL_UNICAST_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// … except these: protocol assignments with Teredo, documentation, 6to4, the former 6bone.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether this address leads out of every private network.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4
            .iter()
            .any(|(network, prefix)| (address.to_bits() ^ network.to_bits()).leading_zeros() >= *prefix),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_public(address.into()),
            None => {
                let within = |(network, prefix): &(Ipv6Addr, u32)| {
                    (address.to_bits() ^ network.to_bits()).leading_zeros() >= *prefix
                };
                within(&GLOBAL_UNICAST_V6) && !NOT_PUBLIC_V6.iter().any(within)
            }
        },
    }
}

/// The IPv4 address that a packet to this one arrives at: mapped addresses, and NAT64, through which
/// a machine without IPv4 reaches all of it.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use url::{Host, Url};

    use super::*;

    /// Whether an address as it stands in a URL is public; `None` for one that no URL may have.
    fn verdict(host: &str) -> Option<bool> {
        let url = Url::parse(&format!("http://{host}/")).ok()?;
        match url.host()? {
            Host::Ipv4(address) => Some(is_public(address.into())),
            Host::Ipv6(address) => Some(is_public(address.into())),
            Host::Domain(name) => panic!("{name} is not an address"),
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for host in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.15",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "134744072",
            "0x08.0x8.010.8",
            "[2606:4700:4700::1111]",
            "[2001:200::1]",
            "[2a00:1450:4001::]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::808:808]",
        ] {
            assert_eq!(verdict(host), Some(true), "{host}");
        }
    }

    #[test]
    fn no_spelling_of_a_private_address_is_public() {
        for host in [
            "0",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "127.255.255.255",
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "0X7F.0x0.0.01",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "168.63.129.16",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "0300.0250.1",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::127.0.0.1]",
            "[::8.8.8.8]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:169.254.169.254]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::808:808]",
            "[100::1]",
            "[2001::1]",
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "[2001:2::1]",
            "[2001:10::1]",
            "[2001:1ff::1]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
            "[2002:808:808::]",
            "[3ffe::1]",
            "[3fff::1]",
            "[4000::1]",
            "[5f00::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[febf::1]",
            "[fec0::1]",
            "[ff02::1]",
        ] {
            assert_eq!(verdict(host), Some(false), "{host}");
        }
    }

    #[test]
    fn what_is_no_address_at_all_cannot_be_asked_for() {
        for host in ["[fe80::1%25eth0]", "[fe80::1%eth0]", "127.0.0.256", "4294967296", "[::1", "0x7f.0.0.0.1"] {
            assert_eq!(verdict(host), None, "{host}");
        }
    }

    #[test]
    fn both_ends_of_every_network_are_refused() {
        for (network, prefix) in NOT_PUBLIC_V4 {
            let last = network.to_bits() | u32::MAX.checked_shr(prefix).unwrap_or(0);
            assert!(!is_public(network.into()) && !is_public(Ipv4Addr::from_bits(last).into()), "{network}/{prefix}");
        }
        for (network, prefix) in NOT_PUBLIC_V6 {
            let last = network.to_bits() | u128::MAX.checked_shr(prefix).unwrap_or(0);
            assert!(!is_public(network.into()) && !is_public(Ipv6Addr::from_bits(last).into()), "{network}/{prefix}");
        }
    }
}
