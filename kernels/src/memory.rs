//! Large memory that a page table walks quickly and that goes back to the system when dropped.
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

/// Bytes of maps that are kept for the next memory of their length.
const SPARE_BYTES: usize = 32 << 20;

/// Bytes, aligned to 4096.
#[derive(Debug)]
pub(crate) struct Memory {
    map: Arc<Map>,
    start: usize,
    length: usize,
    /// Whether nobody else lies in the map, so that it may be kept for the next.
    alone: bool,
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
/// Maps that memories alone in them left: to map and unmap hundreds a second costs page faults, and every core the
/// flushing of its page table.
static SPARE: Mutex<Vec<Arc<Map>>> = Mutex::new(Vec::new());

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
        Self { map: Arc::clone(map), start, length, alone: false }
    }

    /// `length` bytes, whatever stood in them before, in a map of their own, which goes back to the system when
    /// dropped, or waits for the next.
    ///
    /// # Panics
    /// As [`Memory::zeroed`].
    pub(crate) fn alone(length: usize) -> Self {
        let length = length.max(1);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let found = spare.iter().rposition(|map| map.length == length).map(|index| spare.swap_remove(index));
        drop(spare);
        Self { map: found.unwrap_or_else(|| Map::new(length)), start: 0, length, alone: true }
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

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.alone {
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
