#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const KIND: FolderKind = FolderKind {
    program: "smoltalk mix",
    description: "mix.json",
    files: &["README.md"],
    working: &["store.sqlite"],
};

fn shard(index: usize, count: usize) -> String {
    format!("data/default/train-{index:05}-of-{count:05}.parquet")
}

fn fill(new: &NewFolder, shards: usize, text: &str) {
    std::fs::create_dir_all(new.path().join("data/default")).unwrap();
    for index in 0..shards {
        std::fs::write(new.path().join(shard(index, shards)), format!("{text} {index}")).unwrap();
    }
    for name in ["README.md", "mix.json"] {
        std::fs::write(new.path().join(name), format!("{name} of {text}")).unwrap();
    }
}

fn write(path: &Path, shards: usize, text: &str) -> Result<Vec<PathBuf>, Error> {
    let folder = OutputFolder::open(path, &KIND, false)?;
    let new = folder.new_result()?;
    fill(&new, shards, text);
    folder.install(new, Map::new(), BTreeMap::new())
}

/// The visible files with their texts, without the manifest.
fn visible(folder: &Path) -> Vec<(String, String)> {
    let names = files_below(folder).unwrap().into_iter();
    let names = names.filter(|name| !name.starts_with('.') && name != MANIFEST);
    names.map(|name| (name.clone(), std::fs::read_to_string(folder.join(name)).unwrap())).collect()
}

fn expected(shards: usize, text: &str) -> Vec<(String, String)> {
    let new = tempfile::tempdir().unwrap();
    let new_result = NewFolder::create(&new.path().join("a")).unwrap();
    fill(&new_result, shards, text);
    visible(new_result.path())
}

fn refusal(path: &Path) -> String {
    write(path, 1, "refused").unwrap_err().to_string()
}

#[test]
fn fewer_shards_leave_none_of_the_earlier_result() {
    let folder = tempfile::tempdir().unwrap();
    for (shards, text) in [(3, "first"), (1, "second"), (2, "third")] {
        assert!(write(folder.path(), shards, text).unwrap().is_empty());
        assert_eq!(visible(folder.path()), expected(shards, text));
        let manifest = Manifest::read(&folder.path().join(MANIFEST)).unwrap().unwrap();
        assert_eq!(manifest.files.len(), shards + 2);
    }
}

#[test]
fn the_earlier_result_stays_until_the_new_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 2, "first").unwrap();
    let open = OutputFolder::open(folder.path(), &KIND, false).unwrap();
    let new = open.new_result().unwrap();
    fill(&new, 1, "second");
    // A kill leaves the temporary folder.
    std::mem::forget(new);
    assert_eq!(visible(folder.path()), expected(2, "first"));
    drop(open);
    write(folder.path(), 1, "second").unwrap();
    assert_eq!(visible(folder.path()), expected(1, "second"));
    assert!(files_below(folder.path()).unwrap().iter().all(|name| !name.starts_with(".writing-")));
}

/// Every state between two renames of an installation is completed by the next run.
#[test]
fn an_interrupted_installation_is_completed() {
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), 3, "first").unwrap();
    let prepared = || -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 3, "first").unwrap();
        let new = NewFolder::create(&folder.path().join(NEW_RESULT)).unwrap();
        fill(&new, 2, "second");
        let names = files_below(new.path()).unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut manifest = Manifest::of(new.path(), &names, Algorithm::Sha256).unwrap();
        manifest.about.insert("program".into(), KIND.program.into());
        manifest.write(&new.path().join(MANIFEST)).unwrap();
        new.commit().unwrap();
        folder
    };
    type Step = Box<dyn Fn(&Path)>;
    let moved = |from: String, to: String| -> Step {
        Box::new(move |folder| std::fs::rename(folder.join(&from), folder.join(&to)).unwrap())
    };
    let removed =
        |name: String| -> Step { Box::new(move |folder| std::fs::remove_file(folder.join(&name)).unwrap()) };
    let into_place = |name: String| moved(format!("{NEW_RESULT}/{name}"), name);
    let mut steps = vec![moved(MANIFEST.into(), format!("{NEW_RESULT}/.earlier-manifest.json"))];
    steps.extend((0..3).map(|index| removed(shard(index, 3))));
    steps.push(into_place("README.md".into()));
    steps.extend((0..2).map(|index| into_place(shard(index, 2))));
    steps.push(into_place("mix.json".into()));
    steps.push(into_place(MANIFEST.into()));
    for done in 0..=steps.len() {
        let folder = prepared();
        steps[..done].iter().for_each(|step| step(folder.path()));
        drop(OutputFolder::open(folder.path(), &KIND, false).unwrap());
        assert_eq!(visible(folder.path()), expected(2, "second"), "after {done} steps");
        assert!(!folder.path().join(NEW_RESULT).exists());
    }
}

#[test]
fn what_the_program_did_not_write_is_refused() {
    for name in ["README.md", "mix.json", "notes.txt", "data/default/train-00000-of-00001.parquet"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(name), "{}").unwrap();
        let error = refusal(folder.path());
        assert!(error.contains("`smoltalk mix` did not write; move it away"), "{name}: {error}");
        assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), "{}");
        assert_eq!(files_below(folder.path()).unwrap(), [name], "nothing was written");
    }
}

#[test]
fn strangers_beside_a_result_stay() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 2, "first").unwrap();
    for name in ["notes.txt", "data/default/notes.txt", "data/mine.jsonl"] {
        std::fs::write(folder.path().join(name), "mine").unwrap();
    }
    write(folder.path(), 1, "second").unwrap();
    for name in ["notes.txt", "data/default/notes.txt", "data/mine.jsonl"] {
        assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), "mine");
    }
    // A shard that the manifest does not list would be read with the others.
    std::fs::write(folder.path().join(shard(7, 9)), "mine").unwrap();
    assert!(refusal(folder.path()).contains(&shard(7, 9)));
    assert_eq!(std::fs::read_to_string(folder.path().join(shard(7, 9))).unwrap(), "mine");
}

#[test]
fn an_edited_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1, "first").unwrap();
    std::fs::write(folder.path().join("README.md"), "edited").unwrap();
    let kept = write(folder.path(), 1, "second").unwrap();
    assert_eq!(kept, [folder.path().join("set-aside-1/README.md")]);
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), "edited");
    assert_eq!(std::fs::read_to_string(folder.path().join("README.md")).unwrap(), "README.md of second");
}

#[test]
fn no_link_is_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let theirs = elsewhere.path().join(shard(0, 1).rsplit('/').next().unwrap());
    for link in ["data", "data/default", ".lock", "store.sqlite", "checksums.json", ".new-result"] {
        let folder = tempfile::tempdir().unwrap();
        if link != "checksums.json" {
            write(folder.path(), 1, "first").unwrap();
        }
        std::fs::write(&theirs, "theirs").unwrap();
        let path = folder.path().join(link);
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
        let is_file = !link.starts_with("data") && link != ".new-result";
        symlink(if is_file { theirs.as_path() } else { elsewhere.path() }, &path).unwrap();
        let error = refusal(folder.path());
        assert!(error.contains(&format!("{link} is a link")), "{link}: {error}");
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs", "{link}");
        assert!(path.symlink_metadata().unwrap().is_symlink());
    }
}

#[test]
fn a_linked_output_folder_and_one_of_an_earlier_version_work() {
    let (folder, link) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = link.path().join("out");
    symlink(folder.path(), &out).unwrap();
    std::fs::create_dir_all(folder.path().join("data/default")).unwrap();
    for name in [shard(0, 2), shard(1, 2), "README.md".to_owned()] {
        std::fs::write(folder.path().join(name), "old").unwrap();
    }
    let shards: Vec<Value> = (0..2)
        .map(|index| serde_json::json!({"path": shard(index, 2), "bytes": 3, "sha256": "00"}))
        .collect();
    let description = serde_json::json!({"program": "smoltalk 0.1.0", "shards": shards});
    std::fs::write(folder.path().join("mix.json"), description.to_string()).unwrap();
    write(&out, 1, "new").unwrap();
    assert_eq!(visible(folder.path()), expected(1, "new"));
}

#[test]
fn two_processes_do_not_fill_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = OutputFolder::open(folder.path(), &KIND, false).unwrap();
    assert!(refusal(folder.path()).contains("is in use by another run (`smoltalk mix`"));
}

#[test]
fn a_list_that_leads_out_of_the_folder_is_not_followed() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, theirs) = (parent.path().join("out"), parent.path().join("train-00000-of-00001.parquet"));
    std::fs::write(&theirs, "theirs").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let outside = serde_json::json!({"path": "../train-00000-of-00001.parquet", "bytes": 6, "sha256": "00"});
    let description = serde_json::json!({"program": "smoltalk 0.1.0", "shards": [outside]});
    std::fs::write(folder.join("mix.json"), description.to_string()).unwrap();
    write(&folder, 1, "new").unwrap();
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
}

#[test]
fn only_names_of_shards_are_shards() {
    for name in [
        "train-00000-of-00001.parquet",
        "data/a/test-123456-of-00001.parquet",
        "train-00000-of-00001.jsonl",
        "train-00000-of-00001.json",
    ] {
        assert!(is_shard(name), "{name}");
    }
    for name in
        ["train.parquet", "train-0-of-1.parquet", "-00000-of-00001.parquet", "train-00000-of-00001.csv"]
    {
        assert!(!is_shard(name), "{name}");
    }
}
