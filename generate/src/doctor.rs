//! `smoltalk doctor`: what this machine has, and what of it the programs will use.

use anyhow::Result;
use files::disk::free_bytes;
use std::path::{Path, PathBuf};

/// The command line of `smoltalk doctor`.
#[derive(Debug, clap::Args)]
pub struct Options {}

/// Prints one line for each thing, with what to do where something is missing. Returns the exit code: 0, also when
/// something is missing, because no part of the machine is needed by all commands.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(_options: &Options) -> Result<u8> {
    let lines = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("CPU", cpu()),
        ("instructions", instructions()),
        ("memory", memory()),
        ("disk", disk()),
        ("GPU", gpu(&library_folders())),
        ("CUDA toolkit", toolkit()),
        ("hub", hub()),
        ("prices", prices()),
    ];
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, text) in lines {
        terminal::results!("{name:width$}  {}", terminal::printable(&text))?;
    }
    Ok(0)
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|pair| pair.1));
    format!("{}, {} threads are used", model.unwrap_or(std::env::consts::ARCH), kernels::threads())
}

/// The instruction set in use, and what the CPU has beside it.
fn instructions() -> String {
    let used = format!("{:?}", kernels::isa()).to_lowercase();
    let has: Vec<&str> =
        kernels::cpu_features().into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
    let mut text = format!(
        "{used} is used; the CPU has {}",
        if has.is_empty() { "none that matter".into() } else { has.join(", ") }
    );
    if let Ok(chosen) = std::env::var("SMOL_KERNELS") {
        text += &format!(" (SMOL_KERNELS={chosen})");
    }
    text
}

fn memory() -> String {
    match files::memory::available() {
        Some(bytes) => format!("{} available to this process", gibibytes(bytes as u64)),
        None => "not reported by this system".to_owned(),
    }
}

/// Free space here and where caches are.
fn disk() -> String {
    let free = |folder: &Path| {
        let existing = folder.ancestors().find(|one| one.is_dir()).unwrap_or(Path::new("/"));
        free_bytes(existing).map_or_else(|| "an unknown number of bytes".to_owned(), gibibytes)
    };
    let here = format!("{} free in this folder", free(Path::new(".")));
    match files::folders::cache() {
        Some(cache) => format!("{here}, {} in the cache folder {}", free(&cache), cache.display()),
        None => format!("{here}; there is no home folder, so caches are in the folders of runs"),
    }
}

/// Folders in which the loader looks for libraries, as far as that is the same everywhere.
fn library_folders() -> Vec<PathBuf> {
    let given = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let known = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/nvidia/lib64",
    ];
    std::env::split_paths(&given).chain(known.map(PathBuf::from)).collect()
}

fn gpu(libraries: &[PathBuf]) -> String {
    let has_device = Path::new("/dev/nvidiactl").exists();
    let has_driver = libraries.iter().any(|folder| folder.join("libcuda.so.1").exists());
    match (has_device, has_driver) {
        (true, true) => {
            "an NVIDIA GPU and its driver; train on it with a posttrain built with `--features cuda`"
                .to_owned()
        }
        (true, false) => "an NVIDIA GPU, but no libcuda.so.1; install its driver".to_owned(),
        (false, true) => "an NVIDIA driver, but no GPU (/dev/nvidiactl)".to_owned(),
        (false, false) => "no NVIDIA GPU: everything runs on the CPU".to_owned(),
    }
}

/// nvcc, as the build finds it.
fn toolkit() -> String {
    let home = std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = home.into_iter().chain(std::env::split_paths(&path));
    match folders.find(|folder| folder.join("nvcc").is_file()) {
        Some(folder) => format!("{}", folder.join("nvcc").display()),
        None => {
            "no nvcc; `eval \"$(training/gpu/toolkit)\"` fetches one to build `--features cuda`".to_owned()
        }
    }
}

fn hub() -> String {
    match hub::Settings::from_environment() {
        Ok(settings) => settings.description(),
        Err(error) => error.to_string(),
    }
}

fn prices() -> String {
    match files::folders::configuration().map(|folder| folder.join("prices.toml")) {
        Some(path) if path.is_file() => format!("{}", path.display()),
        Some(path) => format!("none; budgets in dollars need {}", path.display()),
        None => "none: there is no home folder".to_owned(),
    }
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_found_in_the_folders_of_libraries() {
        let folder = tempfile::tempdir().unwrap();
        let libraries = [folder.path().to_owned()];
        let without = gpu(&libraries);
        std::fs::write(folder.path().join("libcuda.so.1"), "").unwrap();
        assert_ne!(gpu(&libraries), without);
        assert!(gpu(&libraries).contains("driver"), "{}", gpu(&libraries));
    }

    #[test]
    fn every_line_says_something() {
        for text in [cpu(), instructions(), memory(), disk(), toolkit(), hub(), prices()] {
            assert!(text.len() > 8 && !text.contains('\n'), "{text}");
        }
        assert_eq!(gibibytes(3 << 29), "1.5 GiB");
    }
}
