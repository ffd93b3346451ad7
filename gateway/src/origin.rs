//! Origins: who may call with our cookies and read our answers (docs/reference/security.md §1).

use http::{HeaderMap, HeaderValue, Uri, header};

/// Scheme, host and port, in lower case and with the port spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads an origin from a URL; what follows the port does not count.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.trim().parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        if authority.as_str().contains('@') {
            return None;
        }
        Some(Self {
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(default),
        })
    }

    fn is_localhost(&self) -> bool {
        let host = self.host.as_str();
        matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
    }
}

/// The origins that are trusted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// The public URL's.
    pub(crate) own: Option<Origin>,
    /// Those of the configuration.
    pub(crate) trusted: Vec<Origin>,
    /// Whether every port of localhost counts.
    pub(crate) localhost: bool,
}

impl Origins {
    /// The request's `Origin` when it is trusted.
    pub(crate) fn trusted<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let value = headers.get(header::ORIGIN)?;
        let origin = Origin::parse(value.to_str().ok()?)?;
        let own = match &self.own {
            Some(own) => *own == origin,
            // Without a public URL, the page came from where the request goes.
            None => host(headers).is_some_and(|host| {
                Origin::parse(&format!("{}://{host}", origin.scheme)).as_ref() == Some(&origin)
            }),
        };
        let trusted =
            own || self.trusted.contains(&origin) || (self.localhost && origin.is_localhost());
        trusted.then_some(value)
    }

    /// Whether a request that carries a cookie may change something: it comes from a trusted
    /// origin, or the browser vouches that it comes from our own pages.
    pub(crate) fn may_change(&self, headers: &HeaderMap) -> bool {
        if self.trusted(headers).is_some() {
            return true;
        }
        headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "same-origin" || site == "none")
    }
}

/// `scheme://host`, when that is an origin and nothing more.
pub(crate) fn url(scheme: &str, host: &str) -> Option<String> {
    let url = format!("{scheme}://{host}");
    let plain = !host.contains(['/', '?', '#', '\\']);
    let port = match host.rsplit_once(':') {
        // The last colon of an IPv6 address stands within its brackets.
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    };
    (plain && port && Origin::parse(&url).is_some()).then_some(url)
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &Origins, headers: &[(&'static str, &str)], expected: bool) {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        assert_eq!(origins.may_change(&map), expected, "{headers:?}");
    }

    #[test]
    fn the_public_url_is_compared_by_scheme_host_and_port() {
        let origins = Origins {
            own: Origin::parse("https://Mesh.example.org/"),
            trusted: vec![Origin::parse("http://app.example.org:3000").unwrap()],
            localhost: false,
        };
        check(&origins, &[("origin", "https://mesh.example.org")], true);
        check(
            &origins,
            &[("origin", "https://mesh.example.org:443")],
            true,
        );
        check(&origins, &[("origin", "http://app.example.org:3000")], true);
        for foreign in [
            "http://mesh.example.org",
            "https://mesh.example.org:8443",
            "https://mesh.example.org.evil.example",
            "https://evil.example/https://mesh.example.org",
            "https://mesh.example.org@evil.example",
            "http://localhost:3000",
            "null",
            "",
        ] {
            check(&origins, &[("origin", foreign)], false);
        }
        check(&origins, &[], false);
        check(&origins, &[("sec-fetch-site", "same-origin")], true);
        check(&origins, &[("sec-fetch-site", "same-site")], false);
        // The Host header does not count once the public URL is known.
        let rebound = [("origin", "http://evil.example"), ("host", "evil.example")];
        check(&origins, &rebound, false);
    }

    #[test]
    fn only_hosts_make_urls() {
        let expected = Some("https://example.org:8443".to_owned());
        assert_eq!(url("https", "example.org:8443"), expected);
        for host in ["", "a/b", "a@b", "a b", "a?b", "a#b", "a:b"] {
            assert_eq!(url("http", host), None, "{host}");
        }
    }

    #[test]
    fn without_a_public_url_the_host_decides_and_dev_trusts_localhost() {
        let origins = Origins::default();
        let own = [
            ("origin", "http://127.0.0.1:8080"),
            ("host", "127.0.0.1:8080"),
        ];
        check(&origins, &own, true);
        let other = [
            ("origin", "http://localhost:5173"),
            ("host", "127.0.0.1:8080"),
        ];
        check(&origins, &other, false);
        let dev = Origins {
            localhost: true,
            ..Origins::default()
        };
        check(&dev, &other, true);
    }
}
