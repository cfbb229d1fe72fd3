//! The checksum of each recorded answer and row. SQLite notices damaged pages, not a changed letter in a text.

use super::records::CallKey;
use sha2::{Digest, Sha256};

/// The first half of a SHA-256.
pub(super) type Checksum = [u8; 16];

/// The checksum of an answer, with its key: an answer under another key is damaged, too.
pub(super) fn answer_checksum(key: &CallKey, reply: &str) -> Checksum {
    first_half(Sha256::new_with_prefix(key).chain_update(reply))
}

/// The checksum of the outcome of a row.
pub(super) fn row_checksum(task: &str, position: usize, body: &str) -> Checksum {
    first_half(Sha256::new_with_prefix(format!("{task}/{position}/")).chain_update(body))
}

/// What is said of an entry that differs from its checksum.
pub(super) fn damaged(entry: &str) -> String {
    format!(
        "{entry} in the run's store is damaged; give `--repair` to remove what is damaged and ask for it again, or put \
         a backup of the store in its place"
    )
}

fn first_half(hasher: Sha256) -> Checksum {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    half
}
