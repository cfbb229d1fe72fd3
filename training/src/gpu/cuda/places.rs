//! Where cuBLAS can be: a folder that was named, beside the program, what the loader knows, a CUDA toolkit, Python's wheels.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

/// Names the folders that are looked through first; `none` leaves products to the program's own kernels.
pub(super) const VARIABLE: &str = "SMOL_CUDA_LIBRARIES";

/// Returns the major versions of cuBLAS that run on a driver, the best one first.
fn majors(driver: c_int) -> &'static [u32] {
    match driver {
        13_000.. => &[13, 12],
        12_000.. => &[12],
        _ => &[11],
    }
}

/// Returns the names of the files that run on a driver, the best one first.
pub(super) fn names(driver: c_int) -> Vec<String> {
    majors(driver).iter().map(|major| format!("libcublas.so.{major}")).collect()
}

/// Returns the Python package with the best one.
pub(super) fn package(driver: c_int) -> &'static str {
    match driver {
        13_000.. => "nvidia-cublas",
        12_000.. => "nvidia-cublas-cu12",
        _ => "nvidia-cublas-cu11",
    }
}

/// Returns the files that cuBLAS can be, best first. `named` are the folders of `VARIABLE`: there are no others then.
pub(super) fn cublas(driver: c_int, named: Option<&str>) -> Vec<PathBuf> {
    let names = names(driver).into_iter();
    let within =
        |folders: &[PathBuf], name: &str| folders.iter().map(|folder| folder.join(name)).collect::<Vec<_>>();
    if let Some(named) = named {
        let folders: Vec<PathBuf> = std::env::split_paths(named).collect();
        return names.flat_map(|name| within(&folders, &name)).collect();
    }
    let (beside, installed) = (beside_the_program(), [toolkits(), wheels()].concat());
    names
        .flat_map(|name| {
            let loader = vec![PathBuf::from(&name)];
            [within(&beside, &name), loader, within(&installed, &name)].concat()
        })
        .collect()
}

fn beside_the_program() -> Vec<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new(""));
    vec![folder.join("lib"), folder.join("../lib")]
}

fn toolkits() -> Vec<PathBuf> {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let installed = ["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from);
    let versions = folders_within(Path::new("/usr/local"), "cuda-");
    homes.chain(installed).chain(versions).map(|home| home.join("lib64")).collect()
}

/// Returns the folders of NVIDIA's Python packages: `nvidia/cu13/lib`, and `nvidia/cublas/lib` for CUDA 12 and older.
fn wheels() -> Vec<PathBuf> {
    let environments =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let interpreters: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|folder| folder.join("python3").exists())
        .filter_map(|folder| folder.parent().map(Path::to_owned))
        .collect();
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local"));
    let others = ["/usr/local", "/usr", "/opt/conda", "/opt/venv"].map(PathBuf::from);
    let prefixes = environments.chain(interpreters).chain(home).chain(others);
    let mut folders = Vec::new();
    for python in prefixes.flat_map(|prefix| folders_within(&prefix.join("lib"), "python3")) {
        for packages in ["site-packages", "dist-packages"] {
            let nvidia = python.join(packages).join("nvidia");
            folders.extend(
                ["cu13/lib", "cublas/lib"]
                    .map(|part| nvidia.join(part))
                    .into_iter()
                    .filter(|folder| folder.is_dir()),
            );
        }
    }
    folders
}

/// Returns the entries of a folder whose names begin with `start`, in descending order: new versions first.
fn folders_within(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_is_the_only_place() {
        let files = cublas(13_000, Some("/a:/b"));
        let expected =
            ["/a/libcublas.so.13", "/b/libcublas.so.13", "/a/libcublas.so.12", "/b/libcublas.so.12"];
        assert_eq!(files, expected.map(PathBuf::from));
    }

    #[test]
    fn an_older_driver_is_given_an_older_cublas() {
        assert!(cublas(12_040, None).contains(&PathBuf::from("libcublas.so.12")));
        assert!(cublas(12_040, None).iter().all(|file| !file.ends_with("libcublas.so.13")));
        assert!(cublas(11_080, Some("/a")).contains(&PathBuf::from("/a/libcublas.so.11")));
    }

    #[test]
    fn new_versions_come_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["cuda-12.4", "cuda-13.0", "other"] {
            std::fs::create_dir(folder.path().join(name)).expect("a new folder");
        }
        let found = folders_within(folder.path(), "cuda-");
        assert_eq!(found, ["cuda-13.0", "cuda-12.4"].map(|name| folder.path().join(name)));
    }
}
