//! Compiles `cuda/` where a feature asks for it: with nvcc for a card, with the C++ compiler for the emulation. Without
//! either feature it does nothing.

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

fn out() -> PathBuf {
    PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
}

/// nvcc of CUDA_HOME, CUDA_PATH or PATH, in this order.
fn nvcc() -> PathBuf {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let inside = homes.map(|home| home.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = inside
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("nvcc"))
        .find(|nvcc| nvcc.is_file());
    found.unwrap_or_else(|| {
        stop("the feature cuda needs nvcc: set CUDA_HOME to a CUDA toolkit (12.4 or newer), put nvcc on PATH, or run eval \"$(posttrain/gpu/toolkit)\", which fetches one")
    })
}

/// Code for compute capability 9.0 (H100, H200), and PTX for all others from 8.0 up, in one file.
fn compile(nvcc: &Path) {
    let mut command = Command::new(nvcc);
    command.args(["--fatbin", "-O3", "-std=c++17", "-lineinfo"]);
    command.args(["-gencode", "arch=compute_80,code=compute_80", "-gencode", "arch=compute_90,code=sm_90"]);
    command.arg("cuda/kernels.cu").arg("-o").arg(out().join("kernels.fatbin"));
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => stop(&format!("{} failed on posttrain/cuda/kernels.cu: {status}", nvcc.display())),
        Err(error) => stop(&format!("cannot run {}: {error}", nvcc.display())),
    }
}

/// The same sources for the CPU, as a static library.
fn emulate() {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let (object, library) = (out().join("lanes.o"), out().join("liblanes.a"));
    let mut command = Command::new(&compiler);
    command.args(["-O2", "-std=c++17", "-fPIC", "-w", "-c", "cuda/harness/lanes.cpp", "-o"]).arg(&object);
    let compiled = command.status().is_ok_and(|status| status.success());
    let archived = compiled
        && Command::new("ar")
            .arg("crs")
            .arg(&library)
            .arg(&object)
            .status()
            .is_ok_and(|status| status.success());
    if !archived {
        stop(&format!(
            "{} and ar could not make the emulated kernels of posttrain/cuda/harness",
            compiler.display()
        ));
    }
    println!("cargo::rustc-link-search=native={}", out().display());
    println!("cargo::rustc-link-lib=static=lanes");
    println!("cargo::rustc-link-lib=dylib=stdc++");
}

/// The programs look for CUDA's libraries where they were built, and in `lib` beside themselves.
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
