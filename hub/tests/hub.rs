//! Downloads and uploads against a server that speaks the hub's API: an honest one, one whose connections break, and
//! several that lie.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test may fail loudly")]

#[path = "hub/server.rs"]
mod server;

use hub::{Error, Id, Kind, Repository, Settings, Upload, upload};
use server::{Served, Server, git_hash};
use std::path::Path;

const TOKEN: &str = "hf_secret";

fn id() -> Id {
    Id::parse("someone/thing").unwrap()
}

fn open(server: &Server, cache: &Path) -> Result<Repository, Error> {
    Repository::open(Settings::new(&server.address, Some(TOKEN), cache).unwrap(), Kind::Model, &id())
}

/// The text of an error, with its type.
fn failure<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => format!("{error:?} {error}"),
    }
}

#[test]
fn files_are_cached_as_huggingface_hub_does_and_work_offline() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![7; 300_000];
    let server = Server::start(Served::with(&[("config.json", b"{}"), ("a/model.safetensors", &large)]));
    let repository = open(&server, folder.path()).unwrap();
    assert_eq!(repository.names(), ["config.json", "a/model.safetensors"]);
    let snapshot = repository.fetch(repository.names()).unwrap();
    let root = folder.path().join("models--someone--thing");
    assert_eq!(snapshot, root.join("snapshots/c0ffee"));
    assert_eq!(std::fs::read(snapshot.join("a/model.safetensors")).unwrap(), large);
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), "c0ffee");
    let sha256 = files::hash::sha256(&large);
    let link = std::fs::read_link(snapshot.join("a/model.safetensors")).unwrap();
    assert_eq!(link, Path::new(&format!("../../../blobs/{sha256}")));
    assert!(root.join("blobs").join(git_hash(b"{}")).is_file());
    // A second run asks for the list alone; offline nothing is requested.
    let before = server.requests().len();
    open(&server, folder.path()).unwrap().fetch(repository.names()).unwrap();
    assert_eq!(server.requests().len(), before + 1);
    let settings = Settings::new("http://127.0.0.1:9", None, folder.path()).unwrap();
    let unreachable = Repository::open(settings.clone(), Kind::Model, &id()).unwrap();
    assert_eq!(unreachable.fetch(&["config.json"]).unwrap(), snapshot);
    let offline = Repository::open(settings.clone().offline(), Kind::Model, &id()).unwrap();
    assert_eq!((offline.names().len(), offline.commit()), (2, "c0ffee"));
    // A part of the files is not taken for all of them.
    std::fs::remove_file(snapshot.join("a/model.safetensors")).unwrap();
    let part = Repository::open(settings.clone(), Kind::Model, &id()).unwrap();
    assert_eq!(part.names().len(), 2);
    assert!(
        failure(part.fetch(part.names()))
            .contains("a/model.safetensors of someone/thing is not in the cache")
    );
    let other = Id::parse("someone/else").unwrap();
    assert!(
        failure(Repository::open(settings.clone().offline(), Kind::Model, &other)).contains("HF_HUB_OFFLINE")
    );
    assert!(
        failure(Repository::open(settings, Kind::Model, &other)).contains("check the name and the network")
    );
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Server::start(Served::with(&[("model.safetensors", &[1; 5000])]));
    let mut served = Served::with(&[("model.safetensors", &[1; 5000])]);
    // Another port is another origin.
    served.redirect = Some(format!("{}/someone/thing/resolve/c0ffee/model.safetensors", elsewhere.address));
    let server = Server::start(served);
    open(&server, folder.path()).unwrap().fetch(&["model.safetensors"]).unwrap();
    assert!(server.requests().iter().all(|request| request.authorization == format!("Bearer {TOKEN}")));
    assert_eq!(elsewhere.requests().len(), 1);
    assert_eq!(elsewhere.requests()[0].authorization, "");
}

/// `0.0.0.0` is this machine without being a loopback address: a hub elsewhere, as far as the rule goes.
#[cfg(target_os = "linux")]
#[test]
fn the_token_is_not_sent_without_encryption() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Served::with(&[("config.json", b"{}")]));
    let elsewhere = server.address.replace("127.0.0.1", "0.0.0.0");
    let settings = Settings::new(&elsewhere, Some(TOKEN), folder.path()).unwrap();
    Repository::open(settings, Kind::Model, &id()).unwrap().fetch(&["config.json"]).unwrap();
    let requests = server.requests();
    assert!(requests.len() >= 2 && requests.iter().all(|request| request.authorization.is_empty()));
}

#[test]
fn a_hub_that_leads_in_circles_or_never_ends_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::with(&[("config.json", b"{}")]);
    served.redirect = Some("/models/someone/thing/resolve/c0ffee/config.json".to_owned());
    let server = Server::start(served);
    let error = failure(open(&server, folder.path()).unwrap().fetch(&["config.json"]));
    assert!(error.contains("more than 10 redirects"), "{error}");

    let mut served = Served::with(&[("config.json", b"{}")]);
    (served.lists_sizes, served.lists_hashes, served.is_endless) = (false, false, true);
    served.etag = Some("\"word\"".to_owned());
    let server = Server::start(served);
    let settings =
        Settings::new(&server.address, Some(TOKEN), folder.path()).unwrap().unlisted_limit(1 << 20);
    let error = failure(Repository::open(settings, Kind::Model, &id()).unwrap().fetch(&["config.json"]));
    assert!(error.contains("config.json has no listed size, and more than 1048576 bytes"), "{error}");
    let left = std::fs::read_dir(folder.path().join("models--someone--thing/blobs")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(left.iter().all(|bytes| *bytes == 0), "{left:?}");
}

#[test]
fn a_redirect_without_encryption_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for target in ["http://example.com/x", "ftp://127.0.0.1/x", "file:///etc/passwd"] {
        let mut served = Served::with(&[("config.json", b"{}")]);
        served.redirect = Some(target.to_owned());
        let server = Server::start(served);
        let error = failure(open(&server, folder.path()).unwrap().fetch(&["config.json"]));
        assert!(error.contains("not encrypted") && error.contains(target), "{error}");
    }
}

#[test]
fn a_broken_download_is_resumed_and_a_damaged_one_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..400_000_u32).map(|i| ((i * i) >> 3) as u8).collect();
    let mut served = Served::with(&[("model.safetensors", &bytes)]);
    served.break_after = Some(150_000);
    let server = Server::start(served);
    let snapshot = open(&server, folder.path()).unwrap().fetch(&["model.safetensors"]).unwrap();
    assert_eq!(std::fs::read(snapshot.join("model.safetensors")).unwrap(), bytes);
    let ranges: Vec<String> = server.requests().into_iter().map(|request| request.range).collect();
    assert!(ranges.iter().any(|range| range.starts_with("bytes=") && range != "bytes=0-"), "{ranges:?}");
    for (listed, reason) in
        [(vec![1_u8; 9], "hash"), (vec![0; 8], "longer than listed"), (vec![0; 10], "of 10 bytes")]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut served = Served::with(&[("config.json", &listed)]);
        served.files[0].1 = vec![0; 9];
        let server = Server::start(served);
        let error = failure(open(&server, folder.path()).unwrap().fetch(&["config.json"]));
        assert!(error.contains(reason), "{error}");
        assert!(!folder.path().join("models--someone--thing/snapshots/c0ffee/config.json").exists());
    }
}

#[test]
fn a_commit_or_a_name_that_leads_out_of_the_cache_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let victim = parent.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    let victim_name = victim.to_str().unwrap();
    let changes: [fn(&mut Served, &str); 4] = [
        |served, path| served.commit = path.to_owned(),
        |served, path| served.files[0].0 = path.to_owned(),
        |served, _| served.files[0].0 = "../../../../victim".to_owned(),
        |served, path| (served.lists_hashes, served.etag) = (false, Some(format!("\"{path}\""))),
    ];
    for change in changes {
        let mut served = Served::with(&[("config.json", b"overwritten")]);
        change(&mut served, victim_name);
        let server = Server::start(served);
        let cache = parent.path().join("cache");
        let error = failure(open(&server, &cache).and_then(|repository| repository.fetch(&["config.json"])));
        assert!(error.contains("Refused"), "{error}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    }
    // A mirror without hashes is fine where its entity tags are words.
    let mut served = Served::with(&[("config.json", b"{}")]);
    (served.lists_hashes, served.etag) = (false, Some("W/\"abc-1\"".to_owned()));
    let server = Server::start(served);
    open(&server, &parent.path().join("cache")).unwrap().fetch(&["config.json"]).unwrap();
    assert!(parent.path().join("cache/models--someone--thing/blobs/abc-1").is_file());
}

#[test]
fn refusals_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let with = |status, code: &'static str, token| {
        let mut served = Served::with(&[]);
        served.refusal = Some((status, code));
        let server = Server::start(served);
        let settings = Settings::new(&server.address, token, folder.path()).unwrap();
        failure(Repository::open(settings, Kind::Model, &id()))
    };
    let error = with(401, "", None);
    assert!(error.contains("NeedsToken") && error.contains("set `HF_TOKEN`"), "{error}");
    let error = with(401, "", Some(TOKEN));
    assert!(
        error.contains("TokenRefused") && error.contains("HF_TOKEN") && !error.contains(TOKEN),
        "{error}"
    );
    let error = with(403, "GatedRepo", Some(TOKEN));
    assert!(error.contains("accept its license at http") && error.contains("someone/thing"), "{error}");
    let error = with(404, "RevisionNotFound", None);
    assert!(error.contains("Missing") && error.contains("revision `main`"), "{error}");
    assert!(error.contains("words of the server") && !error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn an_upload_sends_what_the_hub_lacks_and_commits_all() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let large = vec![3; 200_000];
    for (name, bytes) in
        [("README.md", &b"# Thing"[..]), ("data/a.parquet", &large), ("data/b.parquet", b"there")]
    {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let names = ["README.md", "data/a.parquet", "data/b.parquet"].map(str::to_owned).to_vec();
    let id = id();
    let push = Upload {
        folder: folder.path(),
        names,
        id: &id,
        kind: Kind::Dataset,
        is_private: true,
        summary: "Add",
    };
    let mut served = Served::with(&[]);
    served.stored = vec![files::hash::sha256(b"there")];
    let server = Server::start(served);
    let settings = |token| Settings::new(&server.address, token, folder.path()).unwrap();
    assert!(failure(upload(settings(None), &push)).contains("set `HF_TOKEN`"));
    assert!(server.requests().is_empty());
    let address = upload(settings(Some(TOKEN)), &push).unwrap();
    assert_eq!(address, format!("{}/datasets/someone/thing/commit/1", server.address));
    let requests = server.requests();
    let create: serde_json::Value = serde_json::from_str(&requests[0].text()).unwrap();
    assert_eq!(
        create,
        serde_json::json!({"name": "thing", "organization": "someone", "type": "dataset", "private": true})
    );
    let puts: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(puts.len(), 1);
    assert_eq!((puts[0].body.as_slice(), puts[0].authorization.as_str()), (&large[..], "signed"));
    let commit = requests.last().unwrap().text();
    let keys: Vec<String> = commit
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(keys, ["header", "file", "lfsFile", "lfsFile"]);
    assert!(commit.contains(&files::hash::sha256(&large)) && commit.contains("IyBUaGluZw=="), "{commit}");
}
