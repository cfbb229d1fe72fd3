//! What the driver returns when a call fails, in words.

use std::ffi::c_int;
use std::fmt;

/// `CUDA_ERROR_OUT_OF_MEMORY`
const OUT_OF_MEMORY: c_int = 2;
/// Errors that a kernel caused, which a later call returns: `CUDA_ERROR_ASSERT`, `ILLEGAL_ADDRESS`, `HARDWARE_STACK_ERROR`
/// and so on (cuda.h). From then on every call of the process fails.
const FAULTS: [c_int; 8] = [700, 710, 714, 715, 716, 717, 718, 719];

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The driver's function.
    pub(super) call: &'static str,
    /// Its status.
    pub(super) code: c_int,
    /// The status by name and in words.
    pub(super) words: String,
    /// Whether each launch is waited for, so that a fault is reported by the launch that caused it.
    pub(super) waits_for_launches: bool,
}

impl Failure {
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.code == OUT_OF_MEMORY
    }

    /// Whether a kernel caused it, and every later call will fail, too.
    pub(super) fn is_fault(&self) -> bool {
        FAULTS.contains(&self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} returned {} ({})", self.call, self.words, self.code)?;
        if self.is_fault() && !self.waits_for_launches {
            formatter.write_str(
                "; a kernel or a product queued earlier failed, run again with `CUDA_LAUNCH_BLOCKING=1` to see which",
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_how_to_find_its_kernel_and_nothing_else_is_out_of_memory() {
        let failure = |code, waits_for_launches| Failure {
            call: "cuMemAllocAsync",
            code,
            words: "CUDA_ERROR_ILLEGAL_ADDRESS".to_owned(),
            waits_for_launches,
        };
        let fault = failure(700, false);
        assert!(
            fault.to_string().ends_with("run again with `CUDA_LAUNCH_BLOCKING=1` to see which"),
            "{fault}"
        );
        assert!(!fault.is_out_of_memory() && failure(2, false).is_out_of_memory());
        assert!(!failure(700, true).to_string().contains("BLOCKING"));
        assert!(!failure(2, false).to_string().contains("BLOCKING"));
    }
}
