//! What a power loss may leave of a folder while a program writes in it. The program runs under ptrace; at every sync,
//! rename and removal the folder is looked at, and what was synced of each file is remembered. From both, states are built
//! as file systems leave them. Needs Linux on x86-64; a kill alone cannot show a missing sync.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

/// What a file system leaves of data that was not synced.
pub const MODELS: [&str; 5] = ["kill", "journal", "empty", "zeros", "torn"];
/// Set to resume every state instead of a tenth.
const ALL: &str = "SMOL_ALL_CRASH_STATES";

/// A folder as a power loss may leave it.
#[derive(Debug, Clone)]
pub struct State {
    /// Its model, and the call after which the power was lost.
    pub name: String,
    /// Files by their relative path; `None` for folders.
    entries: BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>,
}

impl State {
    /// Makes the folder contain this state and nothing else.
    ///
    /// # Errors
    /// The operating system's.
    pub fn restore(&self, root: &Path) -> io::Result<()> {
        if root.exists() {
            std::fs::remove_dir_all(root)?;
        }
        std::fs::create_dir_all(root)?;
        for (path, content) in &self.entries {
            match content {
                None => std::fs::create_dir_all(root.join(path))?,
                Some(bytes) => std::fs::write(root.join(path), bytes.as_slice())?,
            }
        }
        Ok(())
    }
}

/// A tenth of the states, chosen by a seed; all of them where SMOL_ALL_CRASH_STATES is set.
pub fn chosen(states: &[State], seed: u64) -> impl Iterator<Item = &State> {
    let is_chosen =
        move |index: u64| std::env::var_os(ALL).is_some() || random::mix(seed, index).is_multiple_of(10);
    (0..).zip(states).filter(move |(index, _)| is_chosen(*index)).map(|(_, state)| state)
}

/// Runs a command that writes below `root`, and returns the states that a power loss may have left on the way, each once,
/// with the command's wait status.
///
/// # Errors
/// When the system does not permit tracing.
pub fn states(command: &mut Command, root: &Path) -> io::Result<(Vec<State>, i32)> {
    let mut observer = Observer { root: root.to_owned(), ..Observer::default() };
    observer.sync_existing();
    let status = trace(command, |thread, call, arguments| observer.observe(thread, call, arguments))?;
    observer.take("end");
    Ok((observer.states, status))
}

/// A file, also after it was renamed: inode numbers are used again, so its time of birth is part of it.
type Identity = (u64, Option<SystemTime>);

#[derive(Default)]
struct Observer {
    root: PathBuf,
    /// The content of each file when it was last synced.
    synced: HashMap<Identity, Arc<Vec<u8>>>,
    /// The folder as of the last sync.
    journal: Option<BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>>,
    states: Vec<State>,
    seen: BTreeSet<[u8; 16]>,
}

impl Observer {
    fn observe(&mut self, thread: i32, call: i64, arguments: [u64; 6]) {
        let is_sync = [libc::SYS_fsync, libc::SYS_fdatasync].contains(&call);
        let others = [
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
            libc::SYS_rmdir,
        ];
        if is_sync {
            let path = std::fs::read_link(format!("/proc/{thread}/fd/{}", arguments[0])).unwrap_or_default();
            if !path.starts_with(&self.root) {
                return;
            }
            if let (Ok(identity), Ok(bytes)) = (identity(&path), std::fs::read(&path)) {
                self.synced.insert(identity, Arc::new(bytes));
            }
            self.journal = Some(self.snapshot("empty"));
            self.take(&format!("sync of {}", path.file_name().unwrap_or_default().display()));
        } else if others.contains(&call) {
            self.take("rename or removal");
        }
    }

    /// What the folder contains before the command starts is durable.
    fn sync_existing(&mut self) {
        for (path, content) in self.snapshot("kill") {
            if let (Some(bytes), Ok(identity)) = (content, identity(&self.root.join(path))) {
                self.synced.insert(identity, bytes);
            }
        }
    }

    fn take(&mut self, after: &str) {
        for model in MODELS {
            let entries = match (model, &self.journal) {
                ("journal", Some(journal)) => journal.clone(),
                ("journal", None) => continue,
                _ => self.snapshot(model),
            };
            if self.seen.insert(hash(&entries)) {
                let name = format!("{}-{model}-after-{after}", self.states.len());
                self.states.push(State { name, entries });
            }
        }
    }

    fn snapshot(&self, model: &str) -> BTreeMap<PathBuf, Option<Arc<Vec<u8>>>> {
        let (mut entries, mut folders) = (BTreeMap::new(), vec![self.root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let relative = path.strip_prefix(&self.root).expect("it is below the root").to_owned();
                if path.is_dir() {
                    folders.push(path);
                    entries.insert(relative, None);
                } else if let (Ok(identity), Ok(now)) = (identity(&path), std::fs::read(&path)) {
                    let synced = self.synced.get(&identity).map_or(&[][..], |bytes| bytes.as_slice());
                    entries.insert(relative, Some(Arc::new(left(model, now, synced))));
                }
            }
        }
        entries
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = path.metadata()?;
    Ok((metadata.ino(), metadata.created().ok()))
}

/// What a model leaves of a file.
fn left(model: &str, now: Vec<u8>, synced: &[u8]) -> Vec<u8> {
    let same = now.iter().zip(synced).take_while(|(now, synced)| now == synced).count();
    match model {
        "empty" => synced.to_vec(),
        "zeros" => [&now[..same], &vec![0; now.len() - same]].concat(),
        "torn" => now[..same + (now.len() - same) / 2].to_vec(),
        _ => now,
    }
}

fn hash(entries: &BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>) -> [u8; 16] {
    // Two seeds of FNV-1a: states are compared with each other only.
    let mut hashes = [0xcbf2_9ce4_8422_2325u64, 0x9ae1_6a3b_2f90_404f];
    let mut add = |bytes: &[u8]| {
        for hash in &mut hashes {
            for byte in bytes {
                *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
            *hash = hash.rotate_left(17) ^ bytes.len() as u64;
        }
    };
    for (path, content) in entries {
        add(path.as_os_str().as_encoded_bytes());
        add(content.as_ref().map_or(b"folder".as_slice(), |bytes| bytes.as_slice()));
    }
    let mut both = [0; 16];
    both[..8].copy_from_slice(&hashes[0].to_le_bytes());
    both[8..].copy_from_slice(&hashes[1].to_le_bytes());
    both
}

/// Runs a command and calls `after` with the thread, the number and the arguments of every system call that succeeded,
/// while its thread is stopped. Returns the wait status.
fn trace(command: &mut Command, mut after: impl FnMut(i32, i64, [u64; 6])) -> io::Result<i32> {
    let trace_me = || match ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: ptrace is a plain system call, which a forked child may make before it executes the program.
    let child = unsafe { command.pre_exec(trace_me) }.spawn()?;
    let process = child.id() as i32;
    let mut status = 0;
    wait(process, &mut status)?;
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    ptrace(libc::PTRACE_SETOPTIONS, process, 0, options as usize);
    ptrace(libc::PTRACE_SYSCALL, process, 0, 0);
    let mut calls: HashMap<i32, (i64, [u64; 6])> = HashMap::new();
    loop {
        let thread = wait(-1, &mut status)?;
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if thread == process {
                return Ok(status);
            }
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            match syscall(thread) {
                Some(Stop::Entry(call, arguments)) => drop(calls.insert(thread, (call, arguments))),
                Some(Stop::Exit { succeeded }) => {
                    if let Some((call, arguments)) = calls.remove(&thread).filter(|_| succeeded) {
                        after(thread, call, arguments);
                    }
                }
                None => {}
            }
        }
        // Stops of the tracing itself are not the program's signals.
        let is_own = signal & 0x7f == libc::SIGTRAP || signal == libc::SIGSTOP;
        ptrace(libc::PTRACE_SYSCALL, thread, 0, if is_own { 0 } else { signal as usize });
    }
}

enum Stop {
    Entry(i64, [u64; 6]),
    Exit { succeeded: bool },
}

fn syscall(thread: i32) -> Option<Stop> {
    let mut info = std::mem::MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    if ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, info.as_mut_ptr().addr()) <= 0 {
        return None;
    }
    // SAFETY: zeros are valid for the whole structure, the system wrote the part that `op` names, and only that is read.
    unsafe {
        let info = info.assume_init();
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => Some(Stop::Entry(info.u.entry.nr as i64, info.u.entry.args)),
            libc::PTRACE_SYSCALL_INFO_EXIT => Some(Stop::Exit { succeeded: info.u.exit.is_error == 0 }),
            _ => None,
        }
    }
}

/// Waits for a thread of a program that this thread traces; for no child of another test.
fn wait(thread: i32, status: &mut i32) -> io::Result<i32> {
    // SAFETY: `status` is a valid pointer for the time of the call.
    match unsafe { libc::waitpid(thread, status, libc::__WALL | libc::__WNOTHREAD) } {
        -1 => Err(io::Error::last_os_error()),
        thread => Ok(thread),
    }
}

fn ptrace(request: libc::c_uint, thread: i32, address: usize, data: usize) -> libc::c_long {
    // SAFETY: the requests used here change nothing in this process but the structure that `data` points to, which is
    // as large as `address` says.
    unsafe { libc::ptrace(request, thread, address, data) }
}
