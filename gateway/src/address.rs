//! Whose request it is: the peer's address, or what a trusted proxy says of it.

use std::net::IpAddr;

use http::HeaderMap;

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    bits: u128,
    mask: u128,
}

/// The networks whose word is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(pub(crate) Vec<Network>);

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or one address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let (width, offset) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let length = length.unwrap_or(width);
        if length > width {
            return None;
        }
        let mask = u128::MAX
            .checked_shl(128 - offset - length)
            .unwrap_or_default();
        let bits = bits(address) & mask;
        Some(Self { bits, mask })
    }

    fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.bits
    }
}

/// Both families in one number: IPv4 as IPv4-mapped IPv6.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Who an address belongs to: itself, and of IPv6 the network of 64 bits that one customer has.
pub(crate) fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

impl Networks {
    /// Whether the word of who connects from that address is taken.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address: the peer's, or, behind trusted proxies, the last untrusted hop of
    /// `X-Forwarded-For`. What comes before that hop may be made up, so it is not looked at.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.contain(client) {
            return client;
        }
        let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        let hops = lines
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        for hop in hops.collect::<Vec<_>>().into_iter().rev() {
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
            if !self.contain(client) {
                break;
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let networks = ["10.0.0.0/8", "::1"].map(|text| Network::parse(text).unwrap());
        let networks = Networks(networks.to_vec());
        let check = |peer: &str, forwarded: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            let client = networks.client(peer.parse().unwrap(), &headers);
            assert_eq!(client.to_string(), expected, "{peer} {forwarded}");
        };
        check("192.0.2.1", "203.0.113.9", "192.0.2.1");
        check("10.1.2.3", "203.0.113.9", "203.0.113.9");
        check("::1", "203.0.113.9, 10.9.9.9", "203.0.113.9");
        check("::ffff:10.1.2.3", "1.1.1.1, 203.0.113.9", "203.0.113.9");
        check("10.1.2.3", "203.0.113.9, nonsense", "10.1.2.3");
        check("10.1.2.3", "10.0.0.1", "10.0.0.1");
    }

    #[test]
    fn networks_that_are_none_are_refused() {
        for text in ["10.0.0.0/33", "example.org", "", "10.0.0/8", "fd00::/129"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        let all = Network::parse("0.0.0.0/0").unwrap();
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        assert!(!all.contains("fd00::1".parse().unwrap()));
    }
}
