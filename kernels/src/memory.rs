//! Large buffers in huge pages, returned to the system when dropped; and prefetching.
//!
//! Weights stream at full memory bandwidth only from huge pages: the hardware prefetcher stops at the end of a page,
//! and a small page has 4 KiB. Most matrices are smaller than a huge page, so several share one large map.

use memmap2::MmapMut;
use std::sync::{Arc, Mutex, PoisonError};

/// Size of a map that several memories share, in bytes.
const MAP_BYTES: usize = 64 << 20;
/// Alignment of every memory, in bytes.
const ALIGNMENT: usize = 4096;

/// Total size of unused maps that are kept for the next memory of their length, in bytes.
const SPARE_BYTES: usize = 32 << 20;

/// A buffer of bytes, aligned to 4096.
#[derive(Debug)]
pub(crate) struct Memory {
    map: Arc<Map>,
    start: usize,
    length: usize,
    /// Whether no other memory is in the map, so that the map can be reused.
    has_own_map: bool,
}

#[derive(Debug)]
struct Map {
    base: *mut u8,
    length: usize,
    /// Unmaps the memory when the last reference is dropped.
    _map: MmapMut,
}

// SAFETY: the bytes belong to the memories, which do not overlap and are borrowed as a `Vec` is.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

/// The map that the next memories are allocated from, and how many of its bytes are in use.
static OPEN: Mutex<Option<(Arc<Map>, usize)>> = Mutex::new(None);
/// Unused maps of dropped memories. Mapping and unmapping hundreds per second costs page faults, and TLB flushes on
/// every core.
static SPARE: Mutex<Vec<Arc<Map>>> = Mutex::new(Vec::new());

impl Memory {
    /// Returns `length` zero bytes in a map that other memories share, in huge pages if the system has them. For
    /// buffers that live long.
    ///
    /// # Panics
    /// If the system has no address space left.
    pub(crate) fn zeroed(length: usize) -> Self {
        let length = length.max(1);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = |(map, used): &(Arc<Map>, usize)| used + length <= map.length;
        if !open.as_ref().is_some_and(has_room) {
            *open = Some((Map::new(length.max(MAP_BYTES)), 0));
        }
        let (map, used) = open.as_mut().expect("a map was opened above");
        let start = *used;
        *used = (start + length).next_multiple_of(ALIGNMENT);
        Self { map: Arc::clone(map), start, length, has_own_map: false }
    }

    /// Returns `length` bytes with unspecified contents in a map of their own, which is unmapped or kept for reuse when
    /// they are dropped.
    ///
    /// # Panics
    /// As [`Memory::zeroed`].
    pub(crate) fn with_own_map(length: usize) -> Self {
        let length = length.max(1);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = spare.iter().rposition(|map| map.length == length).map(|index| spare.swap_remove(index));
        drop(spare);
        Self { map: reused.unwrap_or_else(|| Map::new(length)), start: 0, length, has_own_map: true }
    }

    /// Returns a pointer to the first byte.
    pub(crate) fn pointer(&self) -> *const u8 {
        self.map.base.wrapping_add(self.start)
    }

    /// Returns a writable pointer to the first byte.
    pub(crate) fn pointer_mut(&mut self) -> *mut u8 {
        self.map.base.wrapping_add(self.start)
    }

    /// Returns the length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the memory owns these bytes of the map, and anonymous maps are initialized.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.length) }
    }

    /// Returns the bytes, writable.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.pointer_mut(), self.length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.has_own_map {
            return;
        }
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.iter().map(|map| map.length).sum::<usize>() + self.length <= SPARE_BYTES {
            spare.push(Arc::clone(&self.map));
        }
    }
}

impl Map {
    fn new(length: usize) -> Arc<Self> {
        let mut map = MmapMut::map_anon(length).expect("the system has no address space left");
        #[cfg(target_os = "linux")]
        if length >= 2 << 20 {
            // Only a hint: without huge pages reading is slower.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Arc::new(Self { base: map.as_mut_ptr(), length, _map: map })
    }
}

/// Prefetches a cache line into the L2 cache; the address need not be valid. The L1 cache has some twenty outstanding
/// fetches at most, too few for a core to reach its share of the memory bandwidth.
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
