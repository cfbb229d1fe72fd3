//! Room for checkpoints: looked at before a run and before each checkpoint, so that a full disk costs no work. What does not
//! fit is tried again at the next checkpoint; weights alone are a seventh of one.

use anyhow::{Error, Result};
use checkpoint::weights::Precision;
use files::disk::{free_bytes, is_shortage};
use std::io::ErrorKind;
use std::path::Path;
use training::memory::gib;

/// Returns the size of a model's weights in a file.
pub(super) fn weights_bytes(weights: usize, precision: Precision) -> u64 {
    weights as u64 * if precision == Precision::F32 { 4 } else { 2 }
}

/// Returns the size of a checkpoint: the model, and weights with both moments in f32.
pub(super) fn checkpoint_bytes(weights: usize, precision: Precision) -> u64 {
    weights_bytes(weights, precision) + 12 * weights as u64
}

/// Refuses to begin what does not fit. Where free room is unknown, everything does.
///
/// # Errors
/// As the system's own error of a full disk, with both numbers.
pub(super) fn refuse_shortage(folder: &Path, needed: u64) -> Result<(), files::Error> {
    match free_bytes(folder) {
        Some(free) => compare(folder, needed, free),
        None => Ok(()),
    }
}

fn compare(folder: &Path, needed: u64, free: u64) -> Result<(), files::Error> {
    if free >= needed {
        return Ok(());
    }
    let text = format!("it needs {}, and the disk has {} free", bytes(needed), bytes(free));
    Err(files::Error::file("write", folder, std::io::Error::new(ErrorKind::StorageFull, text)))
}

fn bytes(count: u64) -> String {
    if count < 1 << 29 {
        format!("{:.1} MiB", count as f64 / f64::from(1 << 20))
    } else {
        format!("{} GiB", gib(count))
    }
}

/// Whether an error is for lack of room.
pub(super) fn is_out_of_room(error: &Error) -> bool {
    error.chain().any(|cause| {
        let of_checkpoint = match cause.downcast_ref::<checkpoint::Error>() {
            Some(checkpoint::Error::File(error)) => Some(error),
            _ => None,
        };
        of_checkpoint.or_else(|| cause.downcast_ref()).is_some_and(is_shortage)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_shortage_is_known_by_its_error_and_says_both_numbers() {
        let needed = checkpoint_bytes(135_000_000, Precision::Bf16);
        let error = compare(Path::new("out"), needed, 100 << 20).unwrap_err();
        assert_eq!(error.to_string(), "cannot write out: it needs 1.8 GiB, and the disk has 100.0 MiB free");
        assert!(is_out_of_room(&Error::from(checkpoint::Error::from(error)).context("the checkpoint")));
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        let denied: Result<()> = Err(files::Error::file("write", Path::new("out"), denied)).context("it");
        assert!(!is_out_of_room(&denied.unwrap_err()));
        assert!(compare(Path::new("out"), needed, needed).is_ok());
        let folder = tempfile::tempdir().unwrap();
        assert!(refuse_shortage(folder.path(), 1).is_ok());
        assert!(refuse_shortage(folder.path(), u64::MAX).is_err());
    }
}
