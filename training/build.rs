//! Compiles the kernels in `cuda/` where a feature needs them: with nvcc for a GPU (`cuda`), with the C++ compiler for
//! the emulation on the CPU (`emulated`). Without either feature it does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compute capabilities that get machine code, and the CUDA version that knows them first: A100; RTX 30 and A40; RTX 40 and
/// L40; H100 and H200; B200; RTX 50.
const CAPABILITIES: [(u32, u32); 6] =
    [(80, 11_000), (86, 11_010), (89, 11_080), (90, 11_080), (100, 12_080), (120, 12_080)];
/// Options of every compilation. Without `-fmad=false` nvcc, and each driver that compiles the PTX, may make one operation of
/// a product and a sum, with other last bits; the sources say where it should be one (`multiply_add`).
const COMMON: [&str; 3] = ["-O3", "-std=c++17", "-fmad=false"];
/// The PTX instruction set of CUDA 11.8 (PTX ISA, "Release Notes").
const PORTABLE_PTX: &str = "7.8";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        println!("cargo::rerun-if-changed=cuda");
        for name in ["CUDA_HOME", "CUDA_PATH", "PATH"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        compile(&nvcc());
    }
    if std::env::var_os("CARGO_FEATURE_EMULATED").is_some() {
        println!("cargo::rerun-if-changed=cuda");
        println!("cargo::rerun-if-env-changed=CXX");
        emulate();
    }
}

fn out_dir() -> PathBuf {
    PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
}

/// Returns the first nvcc of CUDA_HOME, CUDA_PATH and PATH, in this order.
fn nvcc() -> PathBuf {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let nvcc = homes
        .map(|home| home.join("bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("nvcc"))
        .find(|nvcc| nvcc.is_file());
    nvcc.unwrap_or_else(|| {
        stop("the feature `cuda` needs nvcc; set CUDA_HOME to a CUDA toolkit (12.4 or newer), put nvcc on PATH, or run `eval \"$(training/gpu/toolkit)\"`, which installs one")
    })
}

/// Compiles two images: machine code for the compute capabilities above with PTX for newer ones, and PTX that older
/// drivers compile. Their names are in `src/gpu/cuda.rs`.
fn compile(nvcc: &Path) {
    let version = version_of(nvcc);
    let native = out_dir().join("kernels.fatbin");
    let mut options: Vec<String> = ["--fatbin", "-lineinfo"].map(str::to_owned).to_vec();
    for capability in
        CAPABILITIES.into_iter().filter(|(_, since)| *since <= version).map(|(capability, _)| capability)
    {
        options.extend(["-gencode".to_owned(), format!("arch=compute_{capability},code=sm_{capability}")]);
    }
    options.extend(["-gencode", "arch=compute_80,code=compute_80"].map(str::to_owned));
    run(Command::new(nvcc).args(COMMON).args(&options).args(["cuda/kernels.cu", "-o"]).arg(&native));
    compile_portable(nvcc);
    println!("cargo::rustc-env=SMOL_CUDA_VERSION={version}");
    println!("cargo::rustc-env=SMOL_CUDA_KERNELS={:016x}", hash_of_kernels(version));
}

/// Compiles PTX for 8.0 and states the instruction set of CUDA 11.8, whose drivers then compile it; ptxas refuses it here
/// if it uses anything newer. Newer hints for the optimizer (pragmas) are left out.
fn compile_portable(nvcc: &Path) {
    let ptx = out_dir().join("kernels.ptx");
    let mut command = Command::new(nvcc);
    run(command.args(COMMON).args(["--ptx", "-arch=compute_80", "cuda/kernels.cu", "-o"]).arg(&ptx));
    let text = std::fs::read_to_string(&ptx).expect("nvcc wrote it");
    let lines = text.lines().filter(|line| !line.contains(".pragma \"used_bytes_mask"));
    let mut portable: String = lines
        .map(|line| match line.starts_with(".version ") {
            true => format!(".version {PORTABLE_PTX}\n"),
            false => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&ptx, &portable).expect("OUT_DIR can be written");
    let ptxas = nvcc.with_file_name("ptxas");
    run(Command::new(ptxas).arg("-arch=sm_80").arg(&ptx).arg("-o").arg(out_dir().join("portable.cubin")));
    // The driver reads it as a string.
    portable.push('\0');
    std::fs::write(&ptx, portable).expect("OUT_DIR can be written");
}

/// Returns nvcc's CUDA version as drivers write theirs: 13000 for 13.0.
fn version_of(nvcc: &Path) -> u32 {
    let output = Command::new(nvcc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.split("release ").nth(1).and_then(|rest| rest.split(',').next());
    let parts = version.and_then(|version| version.split_once('.'));
    let numbers =
        parts.and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    match numbers {
        Some((major, minor)) => 1000 * major + 10 * minor,
        None => stop(&format!("`{} --version` does not state its release", nvcc.display())),
    }
}

/// Returns a hash of what decides the kernels' results: their sources, and the compiler's version and options.
fn hash_of_kernels(version: u32) -> u64 {
    let entries = std::fs::read_dir("cuda").expect("the kernels' folder");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a file").path()).filter(|path| path.is_file()).collect();
    files.sort_unstable();
    let mut bytes = format!("{version} {COMMON:?} {CAPABILITIES:?}").into_bytes();
    files.iter().for_each(|file| bytes.extend(std::fs::read(file).expect("a source can be read")));
    // FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/).
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn run(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => stop(&format!("{command:?}: {status}")),
        Err(error) => stop(&format!("cannot run {command:?}: {error}")),
    }
}

/// Compiles the same sources for the CPU, as a static library.
fn emulate() {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let (object, library) = (out_dir().join("lanes.o"), out_dir().join("liblanes.a"));
    let mut compile = Command::new(&compiler);
    compile.args(["-O2", "-std=c++17", "-fPIC", "-w", "-c", "cuda/harness/lanes.cpp", "-o"]).arg(&object);
    let mut archive = Command::new("ar");
    archive.arg("crs").arg(&library).arg(&object);
    let succeeds = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    if !succeeds(&mut compile) || !succeeds(&mut archive) {
        stop(&format!(
            "{} and ar cannot build the emulated kernels in training/cuda/harness",
            compiler.display()
        ));
    }
    println!("cargo::rustc-link-search=native={}", out_dir().display());
    println!("cargo::rustc-link-lib=static=lanes");
    println!("cargo::rustc-link-lib=dylib=stdc++");
}

fn stop(reason: &str) -> ! {
    eprintln!("error: {reason}");
    std::process::exit(1)
}
