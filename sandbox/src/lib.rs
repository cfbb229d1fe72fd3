//! Runs Python that a model wrote: in a process of its own, without network, writes outside its folder, other processes
//! or much memory.
//!
//! The program starts itself again with `ENTER`, restricts itself (`restrict`) and becomes Python, so that nothing has
//! to be done between fork and exec. No privilege is needed; what the kernel offers in addition is used.

mod restrict;

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The argument that makes the program restrict itself and become Python.
const ENTER: &str = "__sandbox";
/// Programs may compute for this time. HumanEval's own harness stops them after 3 s, waiting included; here a busy
/// machine changes no verdict.
const SECONDS: f64 = 5.0;
/// A program that waits for longer is killed.
const KILL_AFTER: Duration = Duration::from_secs(12);
/// Maximum size of the reason that a failed program prints, in bytes.
const MOST_OUTPUT: u64 = 4096;

/// Reads the program and a word that only a program which ran to its end can print, runs it with an empty namespace and
/// its output discarded, and prints the word. Leaving by `os._exit` prints nothing.
const STUB: &str = r#"
import contextlib, io, os, signal, sys
word = sys.stdin.readline().strip()
program = sys.stdin.read()
answer = os.dup(1)
null = os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
def late(*_):
    raise TimeoutError("the program ran for too long")
signal.signal(signal.SIGPROF, late)
signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))
try:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        exec(program, {})
    verdict = word
except BaseException as error:
    verdict = f"{type(error).__name__}: {error}"
signal.setitimer(signal.ITIMER_PROF, 0)
os.write(answer, verdict.encode(errors="replace")[:4000])
"#;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ran to its end without an exception.
    Passed,
    /// Why it did not.
    Failed(String),
}

/// What holds programs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The names of those that are active.
    pub active: Vec<String>,
    /// Whether a program can reach the network.
    pub has_network: bool,
    /// Whether a program can write outside its folder.
    pub can_write: bool,
    /// The version of Python that runs programs.
    pub python: String,
}

/// Becomes the restricted Python if the program was started for that; the first call of `main`.
pub fn enter_if_asked() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, first, folder, python, rest @ ..] = &arguments[..] else { return };
    if first == ENTER {
        let error = restrict::become_python(Path::new(folder), Path::new(python), rest);
        eprintln!("the sandbox cannot start: {error:#}");
        std::process::exit(97);
    }
}

/// The layers that hold programs in, found out by a program that tries to get out.
///
/// # Errors
/// When there is no Python, or it does not start in the sandbox.
pub fn layers() -> Result<&'static Layers> {
    static LAYERS: OnceLock<Result<Layers, String>> = OnceLock::new();
    LAYERS.get_or_init(|| probe().map_err(|error| format!("{error:#}"))).as_ref().map_err(anyhow::Error::msg)
}

/// Refuses to run code where the network or files can be reached, unless that is wanted.
///
/// # Errors
/// Names what is open.
pub fn check(unsandboxed: bool) -> Result<()> {
    let layers = layers()?;
    terminal::message!("note: code runs in {} with {}", layers.python, layers.active.join(", "));
    for (is_open, what) in
        [(layers.has_network, "the network"), (layers.can_write, "files outside its folder")]
    {
        ensure!(
            !is_open || unsandboxed,
            "code could reach {what}, because this system offers no layer that prevents it; run in a virtual machine \
             and give `--unsandboxed`"
        );
    }
    Ok(())
}

/// Runs a program.
///
/// # Errors
/// When the sandbox itself cannot start; what the program does is a verdict.
pub fn run(program: &str) -> Result<Verdict> {
    let word = nonce()?;
    let output = start(program, &word)?;
    Ok(match output.trim() {
        answer if answer == word => Verdict::Passed,
        "" => Verdict::Failed("the program was stopped, or left without an answer".to_owned()),
        reason => Verdict::Failed(reason.to_owned()),
    })
}

/// A word that a program cannot guess.
fn nonce() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let mut source = std::fs::File::open("/dev/urandom").context("cannot read /dev/urandom")?;
    source.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Starts Python on a program and returns what it printed.
fn start(program: &str, word: &str) -> Result<String> {
    let folder = Folder::create()?;
    let own = std::env::current_exe().context("cannot find this program's file")?;
    let mut child = Command::new(own)
        .arg(ENTER)
        .arg(&folder.0)
        .arg(python()?)
        .args(["-I", "-B", "-c", STUB, &SECONDS.to_string()])
        .env_clear()
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the sandbox")?;
    let input = format!("{word}\n{program}");
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early closes its end.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.stdout.take().map(read_in_thread);
    let errors = child.stderr.take().map(read_in_thread);
    let status = wait(&mut child)?;
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    let (output, errors) = (text(output), text(errors));
    ensure!(status != Some(97), "{}", errors.trim());
    Ok(output)
}

fn read_in_thread(source: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = source.take(MOST_OUTPUT).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end of a program, or kills it; returns its exit code.
fn wait(child: &mut Child) -> Result<Option<i32>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the sandbox")? {
            return Ok(status.code());
        }
        if start.elapsed() > KILL_AFTER {
            child.kill().context("cannot stop the sandbox")?;
            child.wait().context("cannot stop the sandbox")?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// A folder of a program's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("smoleval-code-{}", nonce()?));
        std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // Programs run as another user where that is possible.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777))
            .with_context(|| format!("cannot share {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The Python that runs programs.
fn python() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_path = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    let system = ["/usr/bin/python3", "/usr/local/bin/python3"].map(PathBuf::from);
    let found = system.into_iter().chain(of_path).find(|python| python.is_file());
    found.context("no python3 is installed; install it to run code")
}

/// A program that tries to get out, and reports what it reached.
const PROBE: &str = r#"
import os, socket, sys
def reached(action):
    try:
        action()
        return "1"
    except BaseException:
        return "0"
network = reached(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 9))) 
opened = reached(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
outside = os.path.join(os.path.dirname(os.getcwd()), "smoleval-probe-" + str(os.getpid()))
written = reached(lambda: open(outside, "w").close())
raise RuntimeError("|".join([network, opened, written, sys.version.split()[0]]))
"#;

fn probe() -> Result<Layers> {
    let Verdict::Failed(answer) = run(PROBE)? else {
        anyhow::bail!("the probe of the sandbox did not answer")
    };
    let answer = answer.strip_prefix("RuntimeError: ");
    let parts: Vec<&str> = answer.map(|answer| answer.split('|').collect()).unwrap_or_default();
    let [network, opened, written, version] = parts[..] else {
        anyhow::bail!("the probe of the sandbox answered {answer:?}");
    };
    Ok(Layers {
        active: restrict::available(),
        has_network: network == "1" || opened == "1",
        can_write: written == "1",
        python: format!("Python {version}"),
    })
}

#[cfg(test)]
mod tests;
