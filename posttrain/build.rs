//! Makes the program find CUDA's libraries where the feature `cuda` needs them: in the toolkit it was built with, and in
//! `lib` beside itself.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/lib");
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for home in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).take(1) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", Path::new(&home).join("lib64").display());
    }
}
