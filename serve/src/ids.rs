//! Random ids and seeds, and the time: ids of answers, requests and calls, and seeds of requests without one.
//!
//! The standard library seeds its hash maps from the operating system; hashing a counter with such a key gives
//! all the randomness an id needs, without another crate.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// 64 random bits, different for every call.
pub(crate) fn random() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A prefix and 24 random hexadecimal digits, such as `chatcmpl-0123456789abcdef01234567`.
pub(crate) fn id(prefix: &str) -> String {
    format!("{prefix}{:016x}{:08x}", random(), random() as u32)
}

/// An id of a call: `call_` and 24 digits, or nine digits for templates that want so many.
pub(crate) fn call_id(is_short: bool) -> String {
    if is_short { format!("{:016x}", random())[..9].to_owned() } else { id("call_") }
}

/// Nine letters and digits that stand for an id of a call; an id of that kind stands for itself.
pub(crate) fn short_call_id(id: &str) -> String {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    // The same id in every request, without a table.
    format!("{:016x}", ::random::fnv1a(id))[..9].to_owned()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
