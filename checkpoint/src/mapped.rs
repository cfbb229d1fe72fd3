//! What happens when a memory-mapped file cannot be read: its disk returns an error, or it was truncated meanwhile. The
//! system then sends SIGBUS, which would end the program without a word. Here a handler prints the file's path and ends
//! the program as any other error does. Reading instead of mapping would need the file's size in memory a second time.

use std::path::Path;

/// A mapped file whose faults are reported with its path. Keep it as long as the map, and drop it before.
#[derive(Debug)]
pub struct Watch {
    #[cfg(unix)]
    slot: Option<&'static unix::Slot>,
}

impl Watch {
    /// Watches a map of the file at `path`. An empty map is never read, so it needs no watch.
    #[cfg_attr(not(unix), allow(unused_variables, reason = "other systems have other signals"))]
    pub fn new(map: &[u8], path: &Path) -> Self {
        #[cfg(unix)]
        return Self { slot: unix::watch(map, path) };
        #[cfg(not(unix))]
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.release();
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

    /// Maps that can be watched at a time; those beyond it fault as without this module.
    const SLOTS: usize = 1024;
    /// Bytes of a path that are reported; of a longer one, the last.
    const PATH: usize = 600;
    /// Bytes of a line: the program's name (up to 255), the path, and the words around them.
    const LINE: usize = 1024;
    /// The exit code of a program that an error ended, as in the crate `terminal`.
    const ERROR_EXIT_CODE: i32 = 2;

    /// A watched range of addresses. A handler reads it while other threads change it, so all of it is atomic.
    #[derive(Debug)]
    pub(super) struct Slot {
        is_taken: AtomicBool,
        /// First address; 0 while the slot is free or being filled.
        start: AtomicUsize,
        length: AtomicUsize,
        /// The line to print. It is part of the slot, because a handler must not read what may be freed.
        line: [AtomicU8; LINE],
        line_length: AtomicUsize,
    }

    impl Slot {
        const fn free() -> Self {
            Self {
                is_taken: AtomicBool::new(false),
                start: AtomicUsize::new(0),
                length: AtomicUsize::new(0),
                line: [const { AtomicU8::new(0) }; LINE],
                line_length: AtomicUsize::new(0),
            }
        }

        pub(super) fn release(&self) {
            self.start.store(0, Ordering::SeqCst);
            self.is_taken.store(false, Ordering::SeqCst);
        }

        fn contains(&self, address: usize) -> bool {
            let start = self.start.load(Ordering::SeqCst);
            start != 0 && address.wrapping_sub(start) < self.length.load(Ordering::SeqCst)
        }
    }

    static WATCHED: [Slot; SLOTS] = [const { Slot::free() }; SLOTS];
    /// What handled SIGBUS before: the standard library's check for stack overflows.
    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

    pub(super) fn watch(map: &[u8], path: &Path) -> Option<&'static Slot> {
        if map.is_empty() {
            return None;
        }
        install();
        let take = |slot: &&Slot| {
            slot.is_taken.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        let slot = WATCHED.iter().find(take)?;
        let line = line(path);
        slot.line.iter().zip(&line).for_each(|(stored, byte)| stored.store(*byte, Ordering::SeqCst));
        slot.line_length.store(line.len().min(LINE), Ordering::SeqCst);
        slot.length.store(map.len(), Ordering::SeqCst);
        // Last: from here on the handler finds it.
        slot.start.store(map.as_ptr().addr(), Ordering::SeqCst);
        Some(slot)
    }

    fn line(path: &Path) -> Vec<u8> {
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().as_bytes().to_owned();
        let reason =
            b": the disk returned an error, or the file was truncated while it was in use; check the disk, \
            and copy the file again\n";
        // A stranger's file name may contain what controls a terminal.
        let path = terminal::printable(&path.to_string_lossy());
        let last = (path.len().saturating_sub(PATH)..).find(|start| path.is_char_boundary(*start));
        let path = &path[last.unwrap_or(path.len())..];
        [b"\n", program.as_slice(), b": cannot read ", path.as_bytes(), reason.as_slice()].concat()
    }

    fn install() {
        PREVIOUS.get_or_init(|| {
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
            // SAFETY: both structures are plain data for which zeros are valid, and they are passed by valid pointers.
            // The handler has the signature that SA_SIGINFO demands, and does only what a handler may do (see there).
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let mut previous: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&raw mut action.sa_mask);
                libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous);
                previous
            }
        });
    }

    /// Ends the program with a line if the fault is in a watched map; leaves every other fault to the previous handler.
    ///
    /// It only loads atomics and calls write, _exit, sigaction and raise, which POSIX lists as async-signal-safe. It never
    /// returns into the code that faulted, except to fault again under the previous handler: no reader sees a byte that
    /// is not in the file.
    extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO the system passes a valid pointer, and a SIGBUS that it sends itself has an address.
        let (address, code) = unsafe { ((*info).si_addr().addr(), (*info).si_code) };
        // Codes up to 0 are signals that another process sent.
        if code > 0
            && let Some(slot) = WATCHED.iter().find(|slot| slot.contains(address))
        {
            let mut line = [0; LINE];
            line.iter_mut().zip(&slot.line).for_each(|(byte, stored)| *byte = stored.load(Ordering::SeqCst));
            let length = slot.line_length.load(Ordering::SeqCst).min(LINE);
            // SAFETY: the line is this function's own, and `length` is within it. The faulting map is still watched, so its
            // slot is not filled with another line meanwhile.
            unsafe {
                libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length);
                libc::_exit(ERROR_EXIT_CODE);
            }
        }
        // SAFETY: the previous action was valid when it was replaced; without one the default ends the program.
        unsafe {
            match PREVIOUS.get() {
                Some(previous) => libc::sigaction(signal, previous, ptr::null_mut()),
                None => {
                    libc::signal(signal, libc::SIG_DFL);
                    0
                }
            };
            if code <= 0 {
                libc::raise(signal);
            }
        }
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::Command;

    /// Set in the process that the test starts.
    const CHILD: &str = "CHECKPOINT_MAPPED_CHILD";

    /// The test starts itself, because the fault ends the process.
    #[test]
    fn a_map_of_a_truncated_file_ends_the_program_with_its_name() {
        if let Some(path) = std::env::var_os(CHILD) {
            return read_truncated(Path::new(&path));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.bin");
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "mapped::tests::a_map_of_a_truncated_file_ends_the_program_with_its_name",
            "--nocapture",
        ]);
        let output = child.env(CHILD, &path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text.contains(&format!(": cannot read {}: the disk returned", path.display())), "{text}");
    }

    fn read_truncated(path: &Path) {
        std::fs::write(path, vec![1; 1 << 20]).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        // SAFETY: the fault is what is tested.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        // A watch that is over is not found.
        drop(Watch::new(&map, Path::new("another")));
        let _watch = Watch::new(&map, path);
        assert_eq!(map[1 << 19], 1);
        file.set_len(4096).unwrap();
        let sum: usize = map.iter().map(|byte| usize::from(*byte)).sum();
        unreachable!("the file was truncated, but its map was read: {sum}");
    }
}
