//! SIGINT, SIGTERM, SIGHUP and SIGUSR1 (which Slurm can send before a job's time is up): the first one asks the program
//! to save and stop, the second one ends it at once. The exit code is 128 plus the signal's number, as in a shell.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether a signal asked the program to stop. Clones share their state. The default one is never requested.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// The last signal; 0 for none.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Handles the signals from here on. A SIGHUP that the program was started to ignore, as `nohup` does, stays ignored.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let stop = Self::default();
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in watched() {
            // Actions run in this order, so the first signal only sets the flags.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_second))?;
            flag::register(signal, Arc::clone(&is_second))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
        }
        Ok(stop)
    }

    /// The signal that asked the program to stop.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal as i32),
        }
    }

    /// Whether a signal asked the program to stop.
    pub fn is_requested(&self) -> bool {
        self.signal().is_some()
    }

    /// The exit code of a program that a signal stopped.
    pub fn exit_code(&self) -> Option<u8> {
        self.signal().map(|signal| (128 + signal) as u8)
    }

    /// Runs `action` on a thread of its own when the first signal arrives, or at once if one has arrived. To notify an
    /// asynchronous runtime, let `action` send on a channel.
    ///
    /// # Errors
    /// When the operating system refuses a handler or a thread.
    pub fn on_request(&self, action: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut signals = Signals::new(watched())?;
        // Read after the handler is there, so that no signal falls between the two.
        let is_requested = self.is_requested();
        let wait = move || {
            if is_requested || signals.forever().next().is_some() {
                action();
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(())
    }
}

/// The signals that are handled.
fn watched() -> Vec<i32> {
    let signals = [SIGINT, SIGTERM, SIGHUP, SIGUSR1];
    signals.into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(*signal)).collect()
}

/// Whether the process ignores a signal.
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null pointer for the new action nothing changes, and the present one is written to `action`, which
    // is read only after the call succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use signal_hook::low_level::raise;
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Set in the process that the test starts to be ended.
    const CHILD: &str = "TERMINAL_SIGNALS_CHILD";

    /// The test starts itself, because its second signal ends the process.
    #[test]
    fn the_first_signal_asks_and_the_second_one_ends() {
        if std::env::var_os(CHILD).is_some() {
            return be_ended();
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "signals::tests::the_first_signal_asks_and_the_second_one_ends"])
            .env(CHILD, "1");
        let output = child.output().unwrap();
        assert_eq!(output.status.code(), Some(128 + SIGUSR1), "{output:?}");
    }

    fn be_ended() {
        let stop = Stop::listen().unwrap();
        let (sender, receiver) = mpsc::channel();
        let later = sender.clone();
        stop.on_request(move || sender.send("waited").unwrap()).unwrap();
        assert_eq!((stop.signal(), stop.exit_code()), (None, None));
        raise(SIGTERM).unwrap();
        assert_eq!((stop.signal(), stop.exit_code()), (Some(SIGTERM), Some(143)));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)).unwrap(), "waited");
        stop.on_request(move || later.send("at once").unwrap()).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)).unwrap(), "at once");
        assert!(!Stop::default().is_requested());
        raise(SIGUSR1).unwrap();
        unreachable!("the second signal ends the process");
    }

    #[test]
    fn an_ignored_signal_is_recognized() {
        assert!(!is_ignored(SIGUSR1));
        // SIGPIPE: Rust's runtime ignores it.
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
    }
}
