//! Which hosts may be spoken to without encryption.

use std::net::IpAddr;

/// Endings of names that only a private network's own resolver answers.
const PRIVATE_SUFFIXES: &[&str] = &[".localhost", ".local", ".internal", ".svc", ".cluster.local", ".home.arpa"];

/// Whether traffic to this host stays on the machine or in a private network by its very name: a loopback address,
/// `localhost`, a name without a dot (as in a compose file) or one with a private ending (as in a cluster).
///
/// Any other address counts as remote, a private range such as `10.0.0.0/8` too: who else listens there is not known.
#[must_use]
pub fn is_private(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback();
    }
    !host.is_empty() && (!host.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| host.ends_with(suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_private_names_are_private() {
        for host in
            ["127.0.0.1", "::1", "[::1]", "localhost", "redis", "Redis.", "db.internal", "q.ns.svc.cluster.local"]
        {
            assert!(is_private(host), "{host}");
        }
        for host in ["", "10.0.0.7", "redis.example.com", "192.168.1.2", "2001:db8::1", "local.example.org"] {
            assert!(!is_private(host), "{host}");
        }
    }
}
