//! The thread pool of inference: one for the process, started at first use.
//!
//! A decoding step is about a hundred products of a few microseconds each, so starting one must take well under a
//! microsecond: threads claim tasks from one atomic counter, and spin for a while before they park. They park so that
//! an idle server uses no CPU time, and so that on a crowded machine a waiting thread frees its core for one that
//! works.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a worker spins for work before it parks: longer than the time between two products or two steps, too short
/// to show as CPU time of an idle process.
const SPIN: Duration = Duration::from_micros(150);
/// How long the caller spins while workers finish the last tasks; then it parks and frees its core.
const FINISH_SPIN: Duration = Duration::from_micros(30);

static COUNT: OnceLock<usize> = OnceLock::new();
static POOL: OnceLock<Pool> = OnceLock::new();

thread_local! {
    /// Whether this thread is running a task. A task runs nested tasks on its own thread.
    static WORKING: Cell<bool> = const { Cell::new(false) };
}

/// Sets the number of inference threads. It only has an effect before the first computation; returns whether it had
/// one.
pub fn set_threads(count: usize) -> bool {
    COUNT.set(count.max(1)).is_ok()
}

/// Returns the number of inference threads: what [`set_threads`] set, or the number of CPUs available to the process.
pub fn threads() -> usize {
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs `task(0)` to `task(count - 1)`, each once, on all inference threads; returns when all have ended.
///
/// # Panics
/// If a task panics.
pub fn parallel_for(count: usize, task: impl Fn(usize) + Sync) {
    if count < 2 || threads() == 1 || WORKING.get() {
        (0..count).for_each(task);
        return;
    }
    POOL.get_or_init(Pool::start).run(count, &task);
}

/// The pool: workers run one job at a time.
struct Pool {
    /// Locked by the caller whose job runs; other callers wait.
    turn: Mutex<()>,
    state: &'static State,
}

/// What the caller and the workers share.
struct State {
    /// The number of the job in the high half, its count of unclaimed tasks in the low half. Claiming a task is a
    /// compare-exchange of both, so a worker that missed a job cannot claim a task of it.
    ticket: AtomicU64,
    job: UnsafeCell<Job>,
    /// Tasks of the job that have ended.
    done: AtomicUsize,
    /// The caller, after it has stopped spinning.
    waiting: Mutex<Option<Thread>>,
    caller_parked: AtomicBool,
    /// Whether a task of the job panicked.
    panicked: AtomicBool,
    workers: OnceLock<Vec<Worker>>,
}

struct Worker {
    thread: Thread,
    parked: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

// SAFETY: `job` is written only while no task is unclaimed or running, and read only by a thread that claimed a task.
unsafe impl Sync for State {}
// SAFETY: the pointer in `job` is used only while `Pool::run`, which borrows the closure, has not returned.
unsafe impl Send for State {}

fn idle(_: usize) {}

impl Pool {
    fn start() -> Self {
        let nothing: &'static (dyn Fn(usize) + Sync) = &idle;
        let state: &'static State = Box::leak(Box::new(State {
            ticket: AtomicU64::new(0),
            job: UnsafeCell::new(Job { task: nothing, count: 0 }),
            done: AtomicUsize::new(0),
            waiting: Mutex::new(None),
            caller_parked: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            workers: OnceLock::new(),
        }));
        let workers = (1..threads()).filter_map(|index| {
            let work = move || {
                WORKING.set(true);
                state.work(index - 1);
            };
            // If the system refuses a thread, the pool is smaller.
            let handle = std::thread::Builder::new().name(format!("compute-{index}")).spawn(work).ok()?;
            Some(Worker { thread: handle.thread().clone(), parked: AtomicBool::new(false) })
        });
        state.workers.get_or_init(|| workers.collect());
        Self { turn: Mutex::new(()), state }
    }

    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state;
        // SAFETY: only the lifetime changes; the pointer is not used after this function returns.
        let task =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        // SAFETY: the last job has ended and this one is not published yet, so no thread reads `job` now.
        unsafe { *state.job.get() = Job { task, count } };
        state.done.store(0, Ordering::Relaxed);
        let number = (state.ticket.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        state.ticket.store(number << 32 | count as u64, Ordering::SeqCst);
        for worker in state.workers.get().into_iter().flatten() {
            if worker.parked.load(Ordering::SeqCst) && worker.parked.swap(false, Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
        WORKING.set(true);
        while state.claim_and_run() {}
        WORKING.set(false);
        state.wait_for(count);
        assert!(!state.panicked.swap(false, Ordering::Relaxed), "a task of the thread pool panicked");
    }
}

impl State {
    fn work(&self, index: usize) {
        loop {
            let start = Instant::now();
            let mut attempts = 0u32;
            while !self.claim_and_run() {
                std::hint::spin_loop();
                attempts += 1;
                if attempts.is_multiple_of(64) && start.elapsed() > SPIN {
                    self.park(index);
                    break;
                }
            }
        }
    }

    fn park(&self, index: usize) {
        let Some(worker) = self.workers.get().and_then(|workers| workers.get(index)) else {
            return std::thread::yield_now(); // the pool is still starting
        };
        worker.parked.store(true, Ordering::SeqCst);
        // Either the caller sees `parked`, or this thread sees the ticket of the caller.
        while worker.parked.load(Ordering::SeqCst) && self.ticket.load(Ordering::SeqCst) as u32 == 0 {
            std::thread::park();
        }
        worker.parked.store(false, Ordering::SeqCst);
    }

    /// Runs one task of the current job; returns false if none is left.
    #[inline]
    fn claim_and_run(&self) -> bool {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        loop {
            let left = ticket as u32;
            if left == 0 {
                return false;
            }
            match self.ticket.compare_exchange_weak(ticket, ticket - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: a task of this job is claimed and not done, so the job does not change and the
                    // closure of the caller is alive.
                    let (task, count) = unsafe {
                        let job = *self.job.get();
                        (&*job.task, job.count)
                    };
                    self.run_one(task, count, count - left as usize);
                    return true;
                }
                Err(newer) => ticket = newer,
            }
        }
    }

    fn run_one(&self, task: &(dyn Fn(usize) + Sync), count: usize, index: usize) {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task(index))).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        if self.done.fetch_add(1, Ordering::SeqCst) + 1 == count && self.caller_parked.load(Ordering::SeqCst)
        {
            let caller = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(caller) = caller {
                caller.unpark();
            }
        }
    }

    fn wait_for(&self, count: usize) {
        let start = Instant::now();
        let mut attempts = 0u32;
        while self.done.load(Ordering::Acquire) < count {
            std::hint::spin_loop();
            attempts += 1;
            if attempts.is_multiple_of(64) && start.elapsed() > FINISH_SPIN {
                break;
            }
        }
        if self.done.load(Ordering::Acquire) == count {
            return;
        }
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        while self.done.load(Ordering::SeqCst) < count {
            // The time limit covers a worker that finished before it could see a parked caller.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whether_or_not_workers_park() {
        for round in 0..if cfg!(miri) { 40 } else { 2000 } {
            let count = 1 + round % 37;
            let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            parallel_for(count, |index| {
                runs[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "round {round}");
            if round % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn callers_take_turns_and_tasks_may_be_nested() {
        let (total, rounds) = (AtomicUsize::new(0), if cfg!(miri) { 5 } else { 200 });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        parallel_for(8, |_| {
                            parallel_for(3, |index| {
                                total.fetch_add(index, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * rounds * 8 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_keeps_working() {
        let result = std::panic::catch_unwind(|| parallel_for(8, |index| assert!(index != 5, "this one")));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        parallel_for(8, |index| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 28);
    }
}
