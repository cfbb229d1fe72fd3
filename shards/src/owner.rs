//! Who holds a claim: a process of a machine. On the same machine it can be seen whether the process still runs, so that the
//! shard of a killed one is taken over at once and not after its lease.

use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hasher};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) host: String,
    /// The start of its system and its namespace of processes: process ids of two containers are not compared.
    machine: String,
    pub(crate) process: u32,
    /// When it started, in the kernel's ticks: another process may have its id later.
    started: u64,
    /// Makes the claims of two processes differ, whatever else is alike.
    token: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let process = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname"),
            machine: format!("{} {}", read("/proc/sys/kernel/random/boot_id"), space.display()),
            process,
            started: started(process).unwrap_or(0),
            token: std::hash::RandomState::new().build_hasher().finish(),
        }
    }

    /// Whether it is certain that this process has ended: it was one of the machine `here` is on, and no longer runs.
    pub(crate) fn has_ended(&self, here: &Self) -> bool {
        // Systems without /proc cannot say.
        here.started != 0
            && (&self.host, &self.machine) == (&here.host, &here.machine)
            && started(self.process) != Some(self.started)
    }
}

/// When a process of this machine started; `None` if it does not run.
fn started(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    // A process that ended and was not waited for is still listed.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // proc_pid_stat(5): the state is field 3, the start is field 22.
    fields.nth(18)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_known_to_have_ended_on_its_machine_alone() {
        let here = Owner::this();
        assert!(!here.has_ended(&here));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Owner { process: child.id(), started: started(child.id()).unwrap(), ..here.clone() };
        assert!(!other.has_ended(&here));
        child.kill().unwrap();
        // Killed and not waited for: first it ends, then it is listed as ended.
        while started(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(other.has_ended(&here));
        child.wait().unwrap();
        assert!(other.has_ended(&here));
        let elsewhere = Owner { host: "elsewhere".to_owned(), ..other };
        assert!(!elsewhere.has_ended(&here), "nobody here can know");
        let id_used_again = Owner { started: 1, ..here.clone() };
        assert!(id_used_again.has_ended(&here));
    }
}
