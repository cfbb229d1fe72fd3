//! Work done ahead of its use on other threads, its results in the order of its inputs: files are parsed and row groups
//! are encoded on all cores, while what reads them sees one stream. At most a few results wait, so memory does not grow.
//!
//! The threads are its own and not those of rayon: what consumes the stream may itself run on one of rayon's, and would
//! wait there for work that has no thread left.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Results that may wait or be in work, per thread.
const PER_THREAD: u64 = 3;
/// Most threads: beyond, what reads the results is slower.
const MAX_THREADS: usize = 8;

/// A stream whose items are worked on ahead.
type Stream<T> = Box<dyn Iterator<Item = T> + Send>;

/// The results of `work` on the items of `source`, in order. A source of one item, and a machine with one core, start no
/// threads.
pub(crate) fn ahead<I: Send + 'static, T: Send + 'static>(
    source: impl Iterator<Item = I> + Send + 'static,
    work: impl Fn(I) -> T + Send + Sync + 'static,
) -> Stream<T> {
    let mut source = source.fuse();
    let (first, second) = (source.next(), source.next());
    let is_short = second.is_none();
    let source = first.into_iter().chain(second).chain(source);
    // As many as rayon has, which RAYON_NUM_THREADS sets.
    match rayon::current_num_threads().min(MAX_THREADS) {
        threads if threads > 1 && !is_short => Box::new(Ahead::new(source, work, threads)),
        _ => Box::new(source.map(work)),
    }
}

/// What the threads share.
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// Items that may be ahead of the one that is taken next.
    window: u64,
}

struct State<T> {
    /// Results that were taken.
    taken: u64,
    /// Results that wait, by their number.
    ready: BTreeMap<u64, T>,
    /// The number of items, once it is known.
    count: Option<u64>,
    /// Whether nobody wants more, or a thread panicked.
    is_over: bool,
}

/// The items, and the number of the next one.
struct Source<I> {
    items: I,
    number: u64,
}

struct Ahead<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Shared<T> {
    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Waits until an item may be worked on; returns whether it may.
    fn is_wanted(&self, number: u64) -> bool {
        let mut state = lock(&self.state);
        while !state.is_over && number >= state.taken + self.window {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_over && state.count.is_none()
    }
}

/// Ends the others when its thread panics.
struct EndOnPanic<'a, T>(&'a Shared<T>);

impl<T> Drop for EndOnPanic<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.change(|state| state.is_over = true);
        }
    }
}

impl<T: Send + 'static> Ahead<T> {
    fn new<I: Send + 'static>(
        source: impl Iterator<Item = I> + Send + 'static,
        work: impl Fn(I) -> T + Send + Sync + 'static,
        threads: usize,
    ) -> Self {
        let state = State { taken: 0, ready: BTreeMap::new(), count: None, is_over: false };
        let window = PER_THREAD * threads as u64;
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), window });
        let source = Arc::new(Mutex::new(Source { items: source, number: 0 }));
        let work = Arc::new(work);
        let thread = |_| {
            let (shared, source, work) = (Arc::clone(&shared), Arc::clone(&source), Arc::clone(&work));
            std::thread::spawn(move || {
                let _end = EndOnPanic(&shared);
                while let Some((number, item)) = next(&source, &shared) {
                    let result = work(item);
                    shared.change(|state| drop(state.ready.insert(number, result)));
                }
            })
        };
        let threads = (0..threads).map(thread).collect();
        Self { shared, threads }
    }
}

/// The next item and its number; `None` when there is no more to do.
fn next<I, T>(source: &Mutex<Source<impl Iterator<Item = I>>>, shared: &Shared<T>) -> Option<(u64, I)> {
    let mut source = lock(source);
    let number = source.number;
    if !shared.is_wanted(number) {
        return None;
    }
    source.number += 1;
    let item = source.items.next();
    if item.is_none() {
        shared.change(|state| state.count = Some(number));
    }
    item.map(|item| (number, item))
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let mut state = lock(&self.shared.state);
        loop {
            let taken = state.taken;
            if let Some(result) = state.ready.remove(&taken) {
                state.taken += 1;
                self.shared.changed.notify_all();
                return Some(result);
            }
            if state.count == Some(taken) {
                return None;
            }
            if state.is_over {
                break;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        // The panic of a thread goes on here, as if the work had been done here.
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
        None
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.shared.change(|state| state.is_over = true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn results_come_in_order_and_not_too_far_ahead() {
        let begun = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&begun);
        let source = (0..1000_u64).inspect(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let mut results = Ahead::new(source, |number| number * number, 4);
        for number in 0..1000 {
            assert_eq!(results.next(), Some(number * number));
            assert!(begun.load(Ordering::SeqCst) <= number + 2 + 4 * PER_THREAD);
        }
        assert_eq!((results.next(), results.next()), (None, None));
    }

    #[test]
    fn a_stream_that_is_dropped_ends_its_threads_and_a_panic_goes_on() {
        let kept = Arc::new(());
        let held = Arc::clone(&kept);
        let mut results = Ahead::new(0.., move |number: u64| (number, Arc::clone(&held)).0, 2);
        assert_eq!(results.next(), Some(0));
        drop(results);
        assert_eq!(Arc::strong_count(&kept), 1);
        let mut results = Ahead::new(0..9, |number: u64| assert!(number < 3), 2);
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.by_ref().count()));
        assert!(panics.is_err());
    }
}
