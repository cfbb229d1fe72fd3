//! API keys, and who of the clients a request is from.

use axum::http::{HeaderMap, HeaderValue, header};
use std::net::IpAddr;
use subtle::{Choice, ConstantTimeEq};

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Requests of one scope reuse one another's keys and values, and learn of it from the usage. 0 without API keys.
    pub(crate) prefix_scope: u64,
    /// Which of the API keys it sent, from 1; 0 without API keys.
    pub(crate) key: u64,
    /// Whose turn it is in a queue: one number per key, or per address without API keys.
    pub(crate) client: u64,
}

/// The address that a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    /// A number for the address; for the network of an IPv6 address, because a host may have all of one.
    pub(crate) fn number(self) -> u64 {
        match self.0.to_canonical() {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
        }
    }
}

/// Whether a request may see what only holders of a key see.
pub(crate) fn is_authorized(headers: &HeaderMap, keys: &[String]) -> bool {
    keys.is_empty() || known_key(headers, keys).is_some()
}

/// The key that a request has, in the header of OpenAI's clients or of Anthropic's.
pub(crate) fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
    bearer.or_else(|| headers.get("x-api-key").map(|key| key.as_bytes().trim_ascii()))
}

/// Which of the keys a request has.
pub(crate) fn known_key(headers: &HeaderMap, keys: &[String]) -> Option<usize> {
    let key = sent_key(headers)?;
    if !is_known(key, keys) {
        return None;
    }
    keys.iter().position(|known| known.as_bytes() == key)
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Compares with every key, in a time that depends on the lengths alone.
fn is_known(key: &[u8], keys: &[String]) -> bool {
    keys.iter().fold(Choice::from(0), |known, candidate| known | candidate.as_bytes().ct_eq(key)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_compared() {
        assert_eq!(bearer(b"Bearer abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer x"), Some(&b"x"[..]));
        assert_eq!(bearer(b"Basic x"), None);
        assert_eq!(bearer(b"Be"), None);
        let other = HeaderMap::from_iter([(
            header::HeaderName::from_static("x-api-key"),
            HeaderValue::from_static("k"),
        )]);
        assert_eq!(sent_key(&other), Some(&b"k"[..]));
        let keys = ["key".to_owned()];
        assert!(is_known(b"key", &keys) && !is_known(b"kez", &keys) && !is_known(b"ke", &keys));
        assert!(!is_known(b"", &["k".to_owned()]));
    }
}
