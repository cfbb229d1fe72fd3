//! What a release consists of: an archive, a wheel, and the script that installs for a user. Small scripts stand for the
//! programs, so that packing takes no time; `packages/archive` with the real ones runs for each release.
#![cfg(target_os = "linux")]

use crate::programs::{of_project, succeeds, text_of};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAMS: [&str; 4] = ["smoltalk", "posttrain", "smoleval", "smolserve"];

/// A release in a folder whose name has a space.
struct Release {
    folder: tempfile::TempDir,
}

impl Release {
    fn new() -> Self {
        let release = Self { folder: tempfile::Builder::new().prefix("a release ").tempdir().unwrap() };
        let programs = release.path("programs");
        std::fs::create_dir(&programs).unwrap();
        for name in PROGRAMS {
            let path = programs.join(name);
            let script = format!(
                "#!/bin/sh\ncase $1 in\n--version) echo \"{name} 1.2.3\" ;;\ncompletions) echo \"$2 completes {name}\" ;;\n\
                 man) echo page > \"$2/{name}.1\" ;;\nesac\n"
            );
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut archive = Command::new(of_project("packages/archive"));
        succeeds(archive.arg(release.path("out/download/v1.2.3")).env("SMOL_PROGRAMS", programs));
        let latest = release.path("out/latest");
        std::fs::create_dir(&latest).unwrap();
        std::os::unix::fs::symlink(release.download(), latest.join("download")).unwrap();
        release
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn download(&self) -> PathBuf {
        self.path("out/download/v1.2.3")
    }

    fn archive(&self) -> PathBuf {
        let name = format!("smoltalk-1.2.3-{}-linux.tar.gz", std::env::consts::ARCH);
        self.download().join(name)
    }

    fn wheel(&self) -> PathBuf {
        let mut wheel = Command::new("python3");
        wheel.arg(of_project("packages/wheel")).arg(self.archive()).arg(self.download());
        let output = wheel.output().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    }

    /// SHA256SUMS and install.sh, after the wheel.
    fn complete(&self) {
        self.wheel();
        let mut release = Command::new(of_project("packages/release"));
        succeeds(release.arg(self.download()).arg("https://example.org/owner/name/releases"));
    }

    fn install(&self, more: &[&str]) -> Output {
        let mut install = Command::new("sh");
        install.arg(self.download().join("install.sh")).arg("--prefix").arg(self.path("a home")).args(more);
        let address = format!("file://{}", self.path("out").display()).replace(' ', "%20");
        install.env("SMOLTALK_RELEASES", address).output().unwrap()
    }
}

fn runs(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_release_is_installed_for_a_user() {
    let release = Release::new();
    release.complete();
    for more in [&[][..], &["--version", "1.2.3"]] {
        let output = release.install(more);
        assert!(output.status.success(), "{}", text_of(&output));
    }
    let home = release.path("a home");
    assert_eq!(runs(&home.join("bin/posttrain")), "posttrain 1.2.3\n");
    let read = |path: &str| std::fs::read_to_string(home.join("share").join(path)).unwrap();
    assert_eq!(read("man/man1/smolserve.1"), "page\n");
    assert_eq!(read("bash-completion/completions/smoltalk"), "bash completes smoltalk\n");
    assert_eq!(read("zsh/site-functions/_smoltalk"), "zsh completes smoltalk\n");
    assert_eq!(read("fish/vendor_completions.d/smoltalk.fish"), "fish completes smoltalk\n");
    let published = std::fs::read_to_string(release.download().join("install.sh")).unwrap();
    assert!(
        published.contains("https://example.org/owner/name/releases") && !published.contains("@RELEASES@")
    );
}

#[test]
fn a_damaged_or_odd_archive_is_not_installed() {
    let release = Release::new();
    release.complete();
    let sums = release.download().join("SHA256SUMS");
    let listed = std::fs::read_to_string(&sums).unwrap();
    let refused = |expected: &str| {
        let output = release.install(&[]);
        assert!(
            output.status.code() == Some(1) && text_of(&output).contains(expected),
            "{}",
            text_of(&output)
        );
        assert!(!release.path("a home").exists());
    };
    let mut bytes = std::fs::read(release.archive()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(release.archive(), &bytes).unwrap();
    refused("nothing was installed");
    std::fs::write(&sums, listed.replace("smoltalk-1.2.3", "../smoltalk-1.2.3")).unwrap();
    refused("odd name");
    std::fs::write(&sums, listed.replace("-linux.tar.gz", "-other.tar.gz")).unwrap();
    refused("no archive for");
    std::fs::remove_file(&sums).unwrap();
    refused("cannot download");
}

#[test]
fn the_script_of_the_repository_asks_for_an_address() {
    let mut script = Command::new("sh");
    let output =
        script.arg(of_project("packages/install.sh")).env_remove("SMOLTALK_RELEASES").output().unwrap();
    assert!(
        output.status.code() == Some(1) && text_of(&output).contains("SMOLTALK_RELEASES"),
        "{}",
        text_of(&output)
    );
}

#[test]
fn the_same_programs_make_the_same_archive_and_wheel() {
    let [one, two] = [Release::new(), Release::new()];
    let bytes = |path: PathBuf| std::fs::read(path).unwrap();
    assert_eq!(bytes(one.archive()), bytes(two.archive()));
    assert_eq!(bytes(one.wheel()), bytes(two.wheel()));
}

/// pip itself, where there is one, gives the commands of the wheel.
#[test]
fn pip_installs_the_wheel() {
    let release = Release::new();
    let wheel = release.wheel();
    assert!(wheel.to_str().unwrap().contains("manylinux_2_17"), "{}", wheel.display());
    let Ok(python) = std::env::var("SMOL_PYTHON") else {
        assert!(std::env::var("SMOL_REQUIRE_PYTHON").is_err(), "SMOL_PYTHON is not set");
        println!("skipped: SMOL_PYTHON is not set, pip is not tried");
        return;
    };
    let target = release.path("installed");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"])
        .arg(&target)
        .arg(&wheel);
    succeeds(&mut pip);
    assert_eq!(runs(&target.join("bin/smoleval")), "smoleval 1.2.3\n");
}

/// What scripts of the project fetch is what was looked at: by its hash, and nothing of it runs while it is installed.
#[test]
fn scripts_fetch_by_hash() {
    for (script, locks) in [
        (".ci/run", &["tests/requirements.lock"][..]),
        ("tests/foreign/fetch", &["tests/foreign/sources.lock"][..]),
        (
            "tests/llama_cpp_teacher/run",
            &["tests/llama_cpp_teacher/requirements.lock", "tests/llama_cpp_teacher/converter.lock"][..],
        ),
        ("training/gpu/toolkit", &["training/gpu/toolkit-requirements.lock"][..]),
    ] {
        let text = std::fs::read_to_string(of_project(script)).unwrap().replace("\\\n", " ");
        let is_pip =
            |line: &&str| line.contains("pip") && (line.contains(" install ") || line.contains(" download "));
        let fetches: Vec<&str> = text.lines().filter(is_pip).collect();
        assert_eq!(fetches.len(), locks.len(), "{script}: {fetches:?}");
        assert!(fetches.iter().all(|line| line.contains("--require-hashes")), "{script}: {fetches:?}");
        let mut node = text.lines().filter(|line| line.contains("npm ci"));
        assert!(node.all(|line| line.contains("--ignore-scripts")), "{script}");
        for lock in locks {
            let name = lock.rsplit('/').next().unwrap();
            assert!(fetches.iter().any(|line| line.contains(name)), "{script} does not read {name}");
            let text = std::fs::read_to_string(of_project(lock)).unwrap().replace("\\\n", " ");
            let requirements = text.lines().filter(|line| line.contains("=="));
            let unhashed: Vec<&str> = requirements.filter(|line| !line.contains("--hash=sha256:")).collect();
            assert!(unhashed.is_empty(), "{lock}: {unhashed:?}");
        }
    }
}
