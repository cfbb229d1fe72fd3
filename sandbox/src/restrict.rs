//! What the restricted process does to itself before it becomes Python: a session of its own, namespaces where they are
//! permitted, another user where it is root, limits, no new privileges, Landlock and a seccomp filter.

use anyhow::{Context, Result, bail};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest rights of Landlock that are asked for; older kernels enforce those that they know.
const LANDLOCK: ABI = ABI::V5;
/// The user and the group that own nothing.
const NOBODY: libc::uid_t = 65_534;
/// Address space, in bytes.
const MEMORY: libc::rlim_t = 1 << 30;
/// What programs may read and execute.
const READABLE: [&str; 7] =
    ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/urandom", "/etc/localtime"];

/// Restricts this process and becomes Python; returns only if that fails.
pub(super) fn become_python(folder: &Path, python: &Path, arguments: &[String]) -> anyhow::Error {
    match restrict(folder, python) {
        Ok(()) => anyhow::Error::from(Command::new(python).args(arguments).env_clear().exec())
            .context(format!("cannot run {}", python.display())),
        Err(error) => error,
    }
}

/// The names of the layers that this system has.
pub(super) fn available() -> Vec<String> {
    let mut layers = vec!["resource limits".to_owned(), "seccomp".to_owned()];
    // SAFETY: the system call with these arguments only returns a version.
    let landlock = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) };
    if landlock > 0 {
        layers.push(format!("Landlock (version {landlock})"));
    }
    // SAFETY: takes no arguments.
    if unsafe { libc::geteuid() } == 0 {
        layers.push("another user".to_owned());
        layers.push("a network namespace, if permitted".to_owned());
    }
    layers
}

fn restrict(folder: &Path, python: &Path) -> Result<()> {
    // SAFETY: none of these calls takes a pointer; failures are harmless, as other layers follow.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // Without a user namespace: only root may, and everyone else has seccomp and Landlock.
        libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWIPC);
    }
    limit(libc::RLIMIT_AS, MEMORY)?;
    limit(libc::RLIMIT_CPU, 6)?;
    limit(libc::RLIMIT_FSIZE, 1 << 20)?;
    limit(libc::RLIMIT_NOFILE, 64)?;
    limit(libc::RLIMIT_CORE, 0)?;
    become_nobody()?;
    // SAFETY: takes no pointer.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    anyhow::ensure!(result == 0, "no_new_privs: {}", std::io::Error::last_os_error());
    restrict_files(folder, python).context("Landlock")?;
    // The flags of clone3 are in memory, where a filter cannot see them; where it does not exist, the C library uses clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, error) in [(clone3, libc::ENOSYS), (forbidden()?, libc::EPERM)] {
        seccompiler::apply_filter(&filter(rules, error).context("seccomp")?).context("seccomp")?;
    }
    Ok(())
}

fn limit(resource: libc::__rlimit_resource_t, most: libc::rlim_t) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the pointer is to a local value.
    let result = unsafe { libc::setrlimit(resource, &raw const limit) };
    anyhow::ensure!(result == 0, "limit {resource}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Root becomes a user that owns nothing; anyone else stays who they are.
fn become_nobody() -> Result<()> {
    // SAFETY: the list of groups is empty, so its pointer is not read.
    unsafe {
        if libc::geteuid() != 0 {
            return Ok(());
        }
        if libc::setgroups(0, std::ptr::null()) != 0 || libc::setgid(NOBODY) != 0 || libc::setuid(NOBODY) != 0
        {
            bail!("cannot become another user: {}", std::io::Error::last_os_error());
        }
        // Changing the user clears it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    Ok(())
}

/// Only Python and its libraries can be read, only the program's folder can be written. On a kernel without Landlock
/// nothing happens, which the probe finds out.
fn restrict_files(folder: &Path, python: &Path) -> Result<()> {
    let (read, all) = (AccessFs::from_read(LANDLOCK), AccessFs::from_all(LANDLOCK));
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .create()?;
    let mut readable: Vec<PathBuf> = READABLE.iter().map(PathBuf::from).collect();
    // The prefix of an interpreter that is elsewhere: PREFIX/bin/python3, and what a link there points to.
    for file in [Some(python.to_owned()), python.canonicalize().ok()].into_iter().flatten() {
        readable.extend(
            file.parent()
                .and_then(Path::parent)
                .filter(|prefix| *prefix != Path::new("/"))
                .map(PathBuf::from),
        );
    }
    for path in readable {
        if let Ok(handle) = PathFd::new(&path) {
            let access = if path.is_dir() { read } else { read & AccessFs::from_file(LANDLOCK) };
            rules = rules.add_rule(PathBeneath::new(handle, access))?;
        }
    }
    let null = PathFd::new("/dev/null")?;
    rules = rules.add_rule(PathBeneath::new(null, AccessFs::ReadFile | AccessFs::WriteFile))?;
    rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, all))?;
    rules.restrict_self()?;
    Ok(())
}

/// Forbids what a program has no business with: sockets, signals to others, new processes (threads are allowed), tracing,
/// mounting, kernel keys and modules.
fn forbidden() -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let forbidden = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_tgkill,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pidfd_getfd,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_shmget,
        libc::SYS_msgget,
        libc::SYS_open_by_handle_at,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        forbidden.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend([libc::SYS_fork, libc::SYS_vfork].map(|call| (call, Vec::new())));
    let thread = libc::CLONE_THREAD as u64;
    let is_process = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![is_process])?]);
    // The limits of another process.
    let is_other = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![is_other])?]);
    Ok(rules)
}

/// A filter that answers these system calls with an error.
fn filter(rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32) -> Result<BpfProgram> {
    let action = SeccompAction::Errno(error as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}
