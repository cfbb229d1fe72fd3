//! Who holds a claim: a process of a machine. On the same machine it can be seen whether the process still runs, so that the
//! shard of a killed one is taken over at once and not after its lease.

use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hasher};
use std::io;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) host: String,
    /// The start of its system, its namespace of processes and its user: process ids of two containers are not compared, nor
    /// those of two users, who may not see each other's processes (`hidepid`). Empty if a part is not known.
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
        let process = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname"),
            machine: machine(&read("/proc/sys/kernel/random/boot_id")).unwrap_or_default(),
            process,
            started: started(process).ok().flatten().unwrap_or(0),
            token: std::hash::RandomState::new().build_hasher().finish(),
        }
    }

    /// Whether it is certain that this process has ended: it was one of the machine `here` is on, and no longer runs.
    pub(crate) fn has_ended(&self, here: &Self) -> bool {
        // Systems without /proc cannot say.
        here.started != 0
            && !here.machine.is_empty()
            && (&self.host, &self.machine) == (&here.host, &here.machine)
            && started(self.process).is_ok_and(|start| start != Some(self.started))
    }
}

/// What has to be equal for process ids to be compared.
#[cfg(unix)]
fn machine(boot: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    (!boot.is_empty()).then(|| format!("{boot} {} {user}", space.display()))
}

#[cfg(not(unix))]
fn machine(_boot: &str) -> Option<String> {
    None
}

/// When a process of this machine started; `None` if it does not run.
///
/// # Errors
/// When it cannot be told, for example because this process has too many open files.
fn started(process: u32) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(text) => Ok(start(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The start in a line of proc_pid_stat(5).
fn start(text: &str) -> Option<u64> {
    // The name in parentheses may contain anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    // A process that ended and was not waited for is still listed.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // The state is field 3, the start is field 22.
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
        let other =
            Owner { process: child.id(), started: started(child.id()).unwrap().unwrap(), ..here.clone() };
        assert!(!other.has_ended(&here));
        child.kill().unwrap();
        // Killed and not waited for: first it ends, then it is listed as ended.
        while !matches!(started(child.id()), Ok(None)) {
            std::thread::yield_now();
        }
        assert!(other.has_ended(&here));
        child.wait().unwrap();
        assert!(other.has_ended(&here));
        let elsewhere = Owner { host: "elsewhere".to_owned(), ..other.clone() };
        assert!(!elsewhere.has_ended(&here), "nobody here can know");
        let another_user = Owner { machine: format!("{}0", here.machine), ..other.clone() };
        assert!(!another_user.has_ended(&here), "its processes may be hidden");
        let unknown = |owner: &Owner| Owner { machine: String::new(), ..owner.clone() };
        assert!(!unknown(&other).has_ended(&unknown(&here)), "two machines without a boot id are not one");
        let id_used_again = Owner { started: 1, ..here.clone() };
        assert!(id_used_again.has_ended(&here));
    }
}
