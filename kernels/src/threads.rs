//! The threads that inference computes on: one set for the process, made at first use.
//!
//! A decoding step is some hundred products of a few microseconds each, so handing one out must cost well
//! under a microsecond: tasks are claimed from one atomic counter, and threads spin a little before they
//! park. They do park: an idle server takes no time, and on a crowded machine a thread that waits gives its
//! core to the one that was pushed off it.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a thread looks for work before it parks: longer than what lies between two products and
/// between two steps, far shorter than a person would notice in `top`.
const SPIN: Duration = Duration::from_micros(150);
/// How long the caller spins for the last tasks of the others; then it gives up its core to them.
const FINISH_SPIN: Duration = Duration::from_micros(30);

static WANTED: OnceLock<usize> = OnceLock::new();
static POOL: OnceLock<Pool> = OnceLock::new();

thread_local! {
    /// Whether this thread is running a task: what it starts then runs on itself.
    static WORKING: Cell<bool> = const { Cell::new(false) };
}

/// How many threads inference computes on. Has an effect before the first computation only; returns
/// whether it had.
pub fn set_threads(count: usize) -> bool {
    WANTED.set(count.max(1)).is_ok()
}

/// How many threads inference computes on: what [`set_threads`] said, or what the machine gives.
pub fn threads() -> usize {
    *WANTED.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs `task(0)..task(count - 1)`, each once, on all threads, and returns when all have ended.
pub fn each(count: usize, task: impl Fn(usize) + Sync) {
    if count < 2 || threads() == 1 || WORKING.get() {
        (0..count).for_each(task);
        return;
    }
    POOL.get_or_init(Pool::start).run(count, &task);
}

/// What the callers and the workers share.
struct Pool {
    /// Held by the caller whose job runs: several engines take turns.
    turn: Mutex<()>,
    state: &'static State,
}

struct State {
    /// The job's number in the high half, its unclaimed tasks in the low half. A claim is a compare-exchange
    /// of both, so a worker that slept through a job cannot take a task of it.
    ticket: AtomicU64,
    job: UnsafeCell<Job>,
    done: AtomicUsize,
    /// The caller, once it has stopped spinning.
    waiting: Mutex<Option<Thread>>,
    caller_parked: AtomicBool,
    /// Whether any task of the job panicked.
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

// SAFETY: `job` is written only while no task is unclaimed or running, and read only by who claimed a task.
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
            // Where the system gives fewer threads, fewer compute.
            let handle = std::thread::Builder::new().name(format!("compute-{index}")).spawn(work).ok()?;
            Some(Worker { thread: handle.thread().clone(), parked: AtomicBool::new(false) })
        });
        state.workers.get_or_init(|| workers.collect());
        Self { turn: Mutex::new(()), state }
    }

    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state;
        // SAFETY: only the lifetime changes; nobody uses the pointer after this function has returned.
        let task =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        // SAFETY: the last job has ended and this one is not out yet: nobody reads `job` now.
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
        assert!(!state.panicked.swap(false, Ordering::Relaxed), "a computing thread panicked");
    }
}

impl State {
    fn work(&self, index: usize) {
        loop {
            let began = Instant::now();
            let mut looks = 0u32;
            while !self.claim_and_run() {
                std::hint::spin_loop();
                looks += 1;
                if looks.is_multiple_of(64) && began.elapsed() > SPIN {
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
        // Either the caller sees `parked`, or its ticket is seen here.
        while worker.parked.load(Ordering::SeqCst) && self.ticket.load(Ordering::SeqCst) as u32 == 0 {
            std::thread::park();
        }
        worker.parked.store(false, Ordering::SeqCst);
    }

    /// Runs one task of the current job; false when none is left.
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
                    // SAFETY: a task of this job is claimed and not done, so the job stays as it is and the
                    // caller's closure lives.
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
        let began = Instant::now();
        let mut looks = 0u32;
        while self.done.load(Ordering::Acquire) < count {
            std::hint::spin_loop();
            looks += 1;
            if looks.is_multiple_of(64) && began.elapsed() > FINISH_SPIN {
                break;
            }
        }
        if self.done.load(Ordering::Acquire) == count {
            return;
        }
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        while self.done.load(Ordering::SeqCst) < count {
            // A worker that had seen no parked caller is caught by the time limit.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_sleeps_in_between() {
        for round in 0..2000 {
            let count = 1 + round % 37;
            let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            each(count, |index| {
                runs[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "round {round}");
            if round % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn several_callers_take_turns_and_a_task_may_start_tasks() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        each(8, |_| {
                            each(3, |index| {
                                total.fetch_add(index, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 200 * 8 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let caught = std::panic::catch_unwind(|| each(8, |index| assert!(index != 5, "this one")));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        each(8, |index| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 28);
    }
}
