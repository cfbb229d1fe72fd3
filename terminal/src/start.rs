//! What every program does before anything else, so that an odd environment becomes an error with a name in it.

/// Prepares the process; every `main` begins with it. A write past `ulimit -f` then fails with EFBIG, which is reported
/// with the file's path, instead of ending the process by SIGXFSZ without a word.
pub fn start() {
    #[cfg(unix)]
    // SAFETY: ignoring a signal runs no code of ours, and no other thread exists yet that could set a handler.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::process::{Command, Stdio};

    /// Set in the process that the test starts.
    const CHILD: &str = "TERMINAL_START_CHILD";

    /// The test starts itself with a full device as standard error and a limit on file sizes.
    #[test]
    fn neither_a_full_standard_error_nor_a_limit_of_file_sizes_ends_a_program() {
        if let Some(path) = std::env::var_os(CHILD) {
            super::start();
            crate::message!("this {} is printed nowhere", "line");
            let error = std::fs::write(path, vec![0; 1 << 20]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("bash");
        child
            .args(["-c", "ulimit -f 8; exec \"$0\" \"$@\" 2> /dev/full"])
            .arg(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "start::tests::neither_a_full_standard_error_nor_a_limit_of_file_sizes_ends_a_program",
        ]);
        // The log of a whole test run may be a file beyond the limit.
        let status = child.env(CHILD, folder.path().join("large")).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}
