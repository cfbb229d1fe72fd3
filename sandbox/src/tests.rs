//! Attacks from inside the sandbox fail. They run through `smoleval`, which restricts itself; see `evaluate/tests/code.rs`
//! for whole programs. Here is what needs no process.

use super::*;

#[test]
fn words_are_long_and_differ() {
    let (one, other) = (nonce().expect("random bytes"), nonce().expect("random bytes"));
    assert_eq!(one.len(), 32);
    assert_ne!(one, other);
}
