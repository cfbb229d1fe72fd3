//! Large zeroed memory that a page table walks quickly and that goes back to the system when dropped.
//!
//! Streams of weights are read at the memory's speed only from huge pages: within them the processor fetches
//! ahead, and a small page ends that every 4 KiB. Most matrices are smaller than a huge page, so they lie
//! side by side in large maps.

use memmap2::MmapMut;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a map that several memories share.
const MAP_BYTES: usize = 64 << 20;
/// What every memory is aligned to.
const ALIGNMENT: usize = 4096;

/// Zeroed bytes, aligned to 4096.
#[derive(Debug)]
pub(crate) struct Memory {
    map: Arc<Map>,
    start: usize,
    length: usize,
}

#[derive(Debug)]
struct Map {
    base: *mut u8,
    length: usize,
    /// Unmaps when the last memory in it goes.
    _map: MmapMut,
}

// SAFETY: the bytes belong to the memories, which do not overlap and follow Rust's rules for a `Vec`.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

/// The map that the next memories go to, and how much of it is given away.
static OPEN: Mutex<Option<(Arc<Map>, usize)>> = Mutex::new(None);

impl Memory {
    /// `length` bytes of zeros for as long as the process needs them, beside others in huge pages where the
    /// system has them.
    ///
    /// # Panics
    /// When the system has no address space left for them.
    pub(crate) fn zeroed(length: usize) -> Self {
        let length = length.max(1);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let room = |(map, used): &(Arc<Map>, usize)| used + length <= map.length;
        if !open.as_ref().is_some_and(room) {
            *open = Some((Map::new(length.max(MAP_BYTES)), 0));
        }
        let (map, used) = open.as_mut().expect("was just made");
        let start = *used;
        *used = (start + length).next_multiple_of(ALIGNMENT);
        Self { map: Arc::clone(map), start, length }
    }

    /// `length` bytes of zeros in a map of their own, which goes back to the system at once when dropped.
    ///
    /// # Panics
    /// As [`Memory::zeroed`].
    pub(crate) fn alone(length: usize) -> Self {
        Self { map: Map::new(length.max(1)), start: 0, length }
    }

    /// The first byte.
    pub(crate) fn pointer(&self) -> *const u8 {
        self.map.base.wrapping_add(self.start)
    }

    /// The first byte, to be written.
    pub(crate) fn pointer_mut(&mut self) -> *mut u8 {
        self.map.base.wrapping_add(self.start)
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

impl Map {
    fn new(length: usize) -> Arc<Self> {
        let mut map = MmapMut::map_anon(length).expect("the system has no address space left");
        #[cfg(target_os = "linux")]
        if length >= 2 << 20 {
            // Advice only: without huge pages all works, a little slower.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Arc::new(Self { base: map.as_mut_ptr(), length, _map: map })
    }
}

/// Asks for a cache line into the second level; an address of nothing is fine. Into the first level only a score
/// of lines can be on their way at a time, which is too few for a core to draw its share from memory.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
