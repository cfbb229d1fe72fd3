//! `smolserve` as its users' own programs meet it: the official packages for Python and Node, and OpenAI's schemas.
//!
//! The model is the small one of the shared data with room for more positions, so that told tools fit before an
//! answer; what it says beyond its training is nonsense, and nothing here asks for sense.

use crate::programs::program;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tests::shared_data;

/// A server on a port of its own; it ends with the value.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Served {
    pub(crate) fn start(model: &Path, more: &[&str]) -> Self {
        Self::spawn(program("smolserve"), model, more)
    }

    /// By a command to which the arguments are added.
    pub(crate) fn spawn(mut command: Command, model: &Path, more: &[&str]) -> Self {
        command.arg("--model").arg(format!("stories={}", model.display())).args(["--port", "0"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split(' ').find(|word| word.starts_with("http://"));
        let address = address.unwrap_or_else(|| panic!("the server did not start: {line}")).to_owned();
        Self { child, address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the small model and lets it have more positions.
pub(crate) fn long_stories(into: &Path) -> Option<PathBuf> {
    let source = shared_data()?.join("models/stories260k");
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        std::fs::write(into.join(path.file_name().unwrap()), std::fs::read(&path).unwrap()).unwrap();
    }
    let config = into.join("config.json");
    let mut fields = crate::programs::read_json(&config);
    fields["max_position_embeddings"] = 4096.into();
    std::fs::write(config, fields.to_string()).unwrap();
    Some(into.to_owned())
}

/// A file of the client tests.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// What a variable names; `None`, said in one line, where it is not set.
fn needed(variable: &str, required_by: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    if found.is_none() {
        assert!(
            std::env::var(required_by).as_deref() != Ok("1"),
            "{required_by}=1, but {variable} names nothing"
        );
        println!("skipped: {variable} is not set");
    }
    found
}

#[track_caller]
fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().count() > 5, "{said}");
}

/// Both kinds of server: one that is open, and one that wants a key and has room for one.
fn drive(client: &mut Command, folder: &Path) {
    let Some(model) = long_stories(folder) else { return };
    let open = Served::start(&model, &[]);
    let guarded =
        Served::start(&model, &["--api-key", "secret", "--max-sequences", "1", "--max-waiting", "1"]);
    passes(client.args([&open.address, "stories", &guarded.address, "secret"]));
}

#[test]
fn the_python_package_drives_every_endpoint() {
    let Some(python) = needed("SMOL_PYTHON", "SMOL_REQUIRE_PYTHON") else { return };
    let folder = tempfile::tempdir().unwrap();
    drive(Command::new(python).arg(script("openai_client.py")), folder.path());
}

#[test]
fn the_node_package_drives_every_endpoint() {
    let Some(modules) = needed("SMOL_NODE_MODULES", "SMOL_REQUIRE_NODE") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut node = Command::new("node");
    drive(node.arg(script("openai_client.mjs")).env("SMOL_NODE_MODULES", modules), folder.path());
}

#[test]
fn every_response_fits_openais_schemas() {
    let Some(python) = needed("SMOL_PYTHON", "SMOL_REQUIRE_PYTHON") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    let served = Served::start(&model, &[]);
    let schemas = shared_data().unwrap().join("serving/openai-openapi.yaml");
    passes(Command::new(python).arg(script("validate.py")).args([&served.address, "stories"]).arg(schemas));
}
