//! Compiles the kernels in `cuda/` where a feature needs them: with nvcc for a GPU (`cuda`), with the C++ compiler for
//! the emulation on the CPU (`emulated`). Without either feature it does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        println!("cargo::rerun-if-changed=cuda");
        for name in ["CUDA_HOME", "CUDA_PATH", "PATH"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        compile(&nvcc());
        link_runtime();
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

/// Compiles code for compute capability 9.0 (H100, H200) and PTX for all others from 8.0 up into one file.
fn compile(nvcc: &Path) {
    let mut command = Command::new(nvcc);
    command.args(["--fatbin", "-O3", "-std=c++17", "-lineinfo"]);
    command.args(["-gencode", "arch=compute_80,code=compute_80", "-gencode", "arch=compute_90,code=sm_90"]);
    command.arg("cuda/kernels.cu").arg("-o").arg(out_dir().join("kernels.fatbin"));
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => stop(&format!("{} failed on training/cuda/kernels.cu: {status}", nvcc.display())),
        Err(error) => stop(&format!("cannot run {}: {error}", nvcc.display())),
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

/// Makes programs look for CUDA's libraries in the toolkit they were built with and in `lib` beside themselves. It
/// applies to this package's examples and tests; posttrain's build script does the same for its binary.
fn link_runtime() {
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/lib");
    for home in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).take(1) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", Path::new(&home).join("lib64").display());
    }
}

fn stop(reason: &str) -> ! {
    eprintln!("error: {reason}");
    std::process::exit(1)
}
