//! Numbers that a checkpoint is written from while the training continues. A clone shares them, and they are copied only if
//! they change before the clone is dropped: a step computes gradients for most of its time, and changes no weight then.
//!
//! The memory of a copy is kept for the next one: the first touch of fresh memory costs several times as much as the copying.

use rayon::prelude::*;
use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Values that one thread copies at once.
const PIECE: usize = 1 << 18;

/// Memory for a copy, which all copies of the same numbers share.
type Spare = Arc<Mutex<Vec<f32>>>;

/// Numbers whose clones are taken at no cost. Writing to them copies them first if a clone exists.
#[derive(Debug, Clone, Default)]
pub struct Values(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    values: Vec<f32>,
    spare: Spare,
}

impl Drop for Shared {
    /// Keeps the memory as long as there is another copy.
    fn drop(&mut self) {
        if Arc::strong_count(&self.spare) > 1 {
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = take(&mut self.values);
        }
    }
}

impl Values {
    /// Returns whether the next copy needs no more memory.
    pub fn has_spare(&self) -> bool {
        self.0.spare.lock().unwrap_or_else(PoisonError::into_inner).len() == self.len()
    }

    /// Copies on all threads, into memory that was used before if there is some.
    fn copied(&self) -> Self {
        let values = &self.0.values;
        let spare = take(&mut *self.0.spare.lock().unwrap_or_else(PoisonError::into_inner));
        let mut copy = if spare.len() == values.len() { spare } else { vec![0.0; values.len()] };
        let pieces = copy.par_chunks_mut(PIECE).zip(values.par_chunks(PIECE));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
        Self(Arc::new(Shared { values: copy, spare: Arc::clone(&self.0.spare) }))
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self(Arc::new(Shared { values, spare: Spare::default() }))
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0.values
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        if Arc::get_mut(&mut self.0).is_none() {
            *self = self.copied();
        }
        &mut Arc::get_mut(&mut self.0).expect("a new copy has no clones").values
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_was_taken_of_and_nothing_is_copied_without_one() {
        let mut values = Values::from(vec![1.0; 2 * PIECE + 3]);
        let first = values.as_ptr();
        values[0] = 2.0;
        assert_eq!(values.as_ptr(), first);
        let clone = values.clone();
        assert_eq!(clone.as_ptr(), first);
        values[2 * PIECE + 2] = 3.0;
        let second = values.as_ptr();
        assert_ne!(second, first);
        assert_eq!((clone[0], clone[2 * PIECE + 2]), (2.0, 1.0));
        assert_eq!((values[0], values[2 * PIECE + 2], values.len()), (2.0, 3.0, clone.len()));
        assert!(values[..2 * PIECE + 2] == clone[..2 * PIECE + 2] && values != clone);
        assert!(!values.has_spare());
        drop(clone);
        values[1] = 4.0;
        assert_eq!(values.as_ptr(), second);
        assert!(values.has_spare());
        // The memory of the clone that is gone is used again.
        let clone = values.clone();
        values[1] = 5.0;
        assert_eq!((values.as_ptr(), clone[1], values[1]), (first, 4.0, 5.0));
        assert!(!values.has_spare());
    }
}
