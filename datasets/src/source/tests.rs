use super::*;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

const ROW: &str = "{\"text\": \"a\"}\n";

fn rows(path: &Path) -> usize {
    crate::read(path).unwrap().map(Result::unwrap).collect::<Vec<_>>().len()
}

#[test]
fn links_that_leave_a_dataset_are_left_out_by_name() {
    let (dataset, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, theirs) = (dataset.path(), elsewhere.path().join("private.txt"));
    std::fs::write(&theirs, "private").unwrap();
    std::fs::write(folder.join("a.jsonl"), ROW).unwrap();
    std::fs::create_dir(folder.join("inner")).unwrap();
    std::fs::write(folder.join("inner/b.jsonl"), ROW).unwrap();
    symlink(&theirs, folder.join("notes.txt")).unwrap();
    symlink(elsewhere.path(), folder.join("folder")).unwrap();
    symlink("inner/b.jsonl", folder.join("inside.jsonl")).unwrap();
    symlink(folder, folder.join("inner/above")).unwrap();
    let mut reading = crate::read(folder).unwrap();
    assert_eq!(reading.by_ref().count(), 3);
    let mut names: Vec<_> =
        reading.skipped().iter().map(|(path, _)| path.strip_prefix(folder).unwrap()).collect();
    names.sort();
    assert_eq!(names, [Path::new("folder"), Path::new("notes.txt")]);
    assert!(reading.skipped()[0].1.contains("outside the dataset"));
    assert_eq!(left_out(folder, Choice::default()).unwrap().len(), 2);
    // Named by themselves they are what the user asked for.
    assert_eq!(rows(&folder.join("notes.txt")), 1);
    let only = tempfile::tempdir().unwrap();
    symlink(&theirs, only.path().join("notes.txt")).unwrap();
    let error = crate::read(only.path()).err().unwrap().to_string();
    assert!(error.contains("notes.txt: it is a link to"), "{error}");
}

#[test]
fn the_links_of_the_hub_cache_are_followed() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("datasets--a--b/snapshots/0123");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir(cache.path().join("datasets--a--b/blobs")).unwrap();
    std::fs::write(cache.path().join("datasets--a--b/blobs/4567"), ROW).unwrap();
    symlink("../../blobs/4567", snapshot.join("rows.jsonl")).unwrap();
    assert_eq!(rows(&snapshot), 1);
    std::fs::write(cache.path().join("secret"), ROW).unwrap();
    symlink(cache.path().join("secret"), snapshot.join("more.jsonl")).unwrap();
    assert_eq!(rows(&snapshot), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_and_odd_names_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let odd: [&[u8]; 5] =
        [b"\xff.jsonl", b"\xfe.jsonl", b"a\nb.jsonl", b"file:c?x=.jsonl", b"\xfd\xff.jsonl.gz"];
    for name in odd {
        let path = folder.path().join(OsStr::from_bytes(name));
        if name.ends_with(b".gz") {
            let mut encoder =
                flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, ROW.as_bytes()).unwrap();
            encoder.finish().unwrap();
        } else {
            std::fs::write(&path, ROW).unwrap();
        }
        assert_eq!(rows(&path), 1);
    }
    assert_eq!(rows(folder.path()), odd.len());
}

/// The library that reads Parquet panics on some of these: such as offsets that are negative in a changed footer.
#[test]
fn a_damaged_parquet_file_is_an_error_and_ends_no_program() {
    let whole = &include_bytes!("../../../fuzz/seeds/rows/parquet_plain")[1..];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, whole).unwrap();
    assert_eq!(crate::read_raw(&path).unwrap().count(), 2);
    let mut state = 1_u64;
    let mut refused = 0;
    for _ in 0..3000 {
        let mut bytes = whole.to_vec();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (state >> 33) as usize % (bytes.len() - 8);
            bytes[index] = (state >> 24) as u8;
        }
        std::fs::write(&path, bytes).unwrap();
        refused += usize::from(crate::read_raw(&path).map_or(true, |mut rows| rows.any(|row| row.is_err())));
    }
    assert!(refused > 1000, "{refused}");
}

/// Pipes under the names of cards, states, lists and data: nobody waits for their writers.
#[test]
fn pipes_in_a_folder_are_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.jsonl"), ROW).unwrap();
    for name in ["README.md", "state.json", "checksums.json", "mix.json", "more.jsonl", "deep.parquet"] {
        let status = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap();
        assert!(status.success());
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let path = folder.path().to_owned();
    std::thread::spawn(move || {
        let mut reading = crate::read(&path).unwrap();
        let rows = reading.by_ref().map(Result::unwrap).count();
        sender.send((rows, reading.skipped().len())).unwrap();
    });
    let (rows, skipped) =
        receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for a pipe");
    // mix.json and state.json are JSON by their names.
    assert_eq!((rows, skipped), (1, 5));
}

#[test]
fn folders_in_folders_are_read_however_deep_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let deep = (0..1500).fold(folder.path().to_owned(), |path, _| path.join("a"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("rows.jsonl"), ROW).unwrap();
    assert_eq!(rows(folder.path()), 1);
}
