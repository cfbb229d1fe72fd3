//! Work that costs much: on threads of low priority, so that requests that cost little do not wait for it, and with its
//! memory given back to the system afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes of the stack: templates recurse.
const STACK: usize = 16 << 20;
/// How often memory is given back at the most. It takes some milliseconds.
const RELEASE_PAUSE: Duration = Duration::from_secs(1);
/// The priority of these threads, from 0 (as others) to 19: a third of the time that others get where all want to run.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Bytes from which the allocator maps a buffer by itself, so that it goes back to the system when it is dropped.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: i32 = 256 << 10;

/// Whether work has ended since memory was given back.
static HAS_ENDED: AtomicBool = AtomicBool::new(false);

/// Makes the allocator map large buffers by themselves. By its own rule the limit grows with what is freed, up to 32 MB, and
/// buffers of megabytes then lie between small ones that live on: after texts of 4 MB, 80 MB stayed.
pub(crate) fn map_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: no memory is passed; before the server's threads begin.
        let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED) };
    }
}

/// Has memory given back soon, after a request that took much of it.
pub(crate) fn memory_was_freed() {
    HAS_ENDED.store(true, Ordering::Relaxed);
}

/// Runs work on a thread of its own. `None` when it panics or the system gives no thread.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let whole = move || {
        lower_priority();
        // The work may begin tasks.
        let _runtime = runtime.enter();
        let result = work();
        memory_was_freed();
        // Whoever waited may have left.
        let _ = sender.send(result);
    };
    std::thread::Builder::new().name("background".to_owned()).stack_size(STACK).spawn(whole).ok()?;
    receiver.await.ok()
}

/// Lets the other threads of this process go first, as far as the system can do that.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no memory is passed. On Linux, 0 is the calling thread alone.
        let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    }
}

/// Gives memory back after work has ended, for ever. An allocator keeps what was freed for the thread that asked for it,
/// and these threads have ended.
pub(crate) async fn release_memory() {
    loop {
        tokio::time::sleep(RELEASE_PAUSE).await;
        if HAS_ENDED.swap(false, Ordering::Relaxed) {
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes the allocator's own locks and returns pages that are free.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_a_panic_ends_it_alone() {
        assert_eq!(run(|| 7).await, Some(7));
        let panicking = run(|| {
            if true {
                panic!("the work panics");
            }
        });
        assert_eq!(panicking.await, None);
        assert!(HAS_ENDED.load(Ordering::Relaxed));
        trim();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn others_go_first() {
        // SAFETY: no memory is passed.
        let niceness = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let here = niceness();
        assert_eq!(run(niceness).await, Some(here.max(NICENESS)));
        assert_eq!(niceness(), here);
    }
}
