#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Mutex;
use std::time::SystemTime;

fn options(worker: usize, workers: usize, lease: f64) -> Options {
    Options { shards: Some(1), worker: Some(worker), workers: Some(workers), lease }
}

fn join(out: &Path, worker: usize, workers: usize, lease: f64, shards: usize) -> Board {
    let stages = vec![Stage::new("rows", shards)];
    Board::join(out, &options(worker, workers, lease), "test", stages, json!({"seed": 1})).unwrap()
}

/// As if the worker were on another machine: it can judge the claims of others by their silence alone.
fn on_another_machine(mut board: Board) -> Board {
    let text = serde_json::to_string(&board.owner).unwrap();
    board.owner =
        serde_json::from_str(&text.replacen("\"machine\":\"", "\"machine\":\"another ", 1)).unwrap();
    board
}

#[test]
fn many_workers_do_each_shard_once() {
    let folder = tempfile::tempdir().unwrap();
    let counts: Mutex<BTreeMap<usize, usize>> = Mutex::default();
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (counts, out) = (&counts, folder.path());
            scope.spawn(move || {
                let board = join(out, worker, 6, 60.0, 40);
                while let Some(claim) = board.next(0, &Stop::default()).unwrap() {
                    *counts.lock().unwrap().entry(claim.shard).or_default() += 1;
                    let part = claim.part("txt");
                    std::fs::write(&part, claim.shard.to_string()).unwrap();
                    assert!(claim.complete(Some(&part), json!({"worker": worker})).unwrap());
                }
                assert!(board.is_done(0).unwrap());
            });
        }
    });
    assert_eq!(counts.into_inner().unwrap(), (0..40).map(|shard| (shard, 1)).collect());
    let board = join(folder.path(), 0, 1, 60.0, 40);
    for shard in 0..40 {
        let (marker, part) = board.result(0, shard).unwrap();
        assert_eq!((marker.epoch, std::fs::read_to_string(part.unwrap()).unwrap()), (0, shard.to_string()));
    }
    board.clear().unwrap();
    assert!(board.next(0, &Stop::default()).unwrap().is_none(), "a worker that comes late does nothing");
}

#[test]
fn a_worker_begins_with_its_own_shards_and_then_helps() {
    let folder = tempfile::tempdir().unwrap();
    let board = join(folder.path(), 1, 3, 60.0, 7);
    let order: Vec<usize> = board.in_order(&Stage::new("rows", 7)).collect();
    assert_eq!(order, [1, 4, 2, 3, 5, 6, 0]);
    let late = join(folder.path(), 9, 10, 60.0, 7);
    assert_eq!(late.in_order(&Stage::new("rows", 7)).count(), 7, "more workers than shards");
}

#[test]
fn a_claim_that_is_renewed_is_never_taken() {
    let folder = tempfile::tempdir().unwrap();
    let slow = join(folder.path(), 0, 2, 0.4, 1);
    let _claim = slow.next(0, &Stop::default()).unwrap().unwrap();
    let other = on_another_machine(join(folder.path(), 1, 2, 0.4, 1));
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(1200) {
        assert!(other.claim(&Stage::new("rows", 1), &[0]).unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the clock of the machine that set the time of a claim's file is behind or ahead.
#[test]
fn a_claim_is_taken_over_after_its_lease_by_the_clock_of_the_one_that_waits() {
    let hour = Duration::from_secs(3600);
    for time in [SystemTime::now() - hour, SystemTime::now() + hour] {
        let folder = tempfile::tempdir().unwrap();
        // Its next renewal is a quarter of an hour away, as if it were paused.
        let slow = join(folder.path(), 0, 2, 3600.0, 1);
        let _paused = slow.next(0, &Stop::default()).unwrap().unwrap();
        let file = File::options().write(true).open(claim_file(&slow.folder, "rows-00000", 0)).unwrap();
        file.set_modified(time).unwrap();
        let other = on_another_machine(join(folder.path(), 1, 2, 0.3, 1));
        let start = std::time::Instant::now();
        assert_eq!(other.next(0, &Stop::default()).unwrap().unwrap().epoch, 1);
        let waited = start.elapsed();
        assert!(waited >= Duration::from_secs_f64(0.3) && waited < Duration::from_secs(60), "{waited:?}");
    }
}

#[test]
fn a_worker_that_was_paused_loses_at_the_marker() {
    let folder = tempfile::tempdir().unwrap();
    let slow = join(folder.path(), 0, 2, 0.4, 1);
    let paused = slow.next(0, &Stop::default()).unwrap().unwrap();
    let other = on_another_machine(join(folder.path(), 1, 2, 0.4, 1));
    let taken = other.take(&Stage::new("rows", 1), 0, 1).unwrap().unwrap();
    assert_eq!((taken.epoch, taken.earlier_parts("txt").count()), (1, 1));
    while !paused.is_lost() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (first, second) = (paused.part("txt"), taken.part("txt"));
    std::fs::write(&first, "slow").unwrap();
    std::fs::write(&second, "taken over").unwrap();
    assert!(taken.complete(Some(&second), json!({})).unwrap());
    assert!(!paused.complete(Some(&first), json!({})).unwrap());
    assert!(!first.exists(), "what does not count is removed");
    let (marker, part) = other.result(0, 0).unwrap();
    assert_eq!((marker.epoch, part), (1, Some(second.clone())));
    std::fs::write(second, "damaged").unwrap();
    assert!(other.result(0, 0).unwrap_err().to_string().contains("is damaged"));
}

#[test]
fn a_worker_of_a_run_that_was_set_aside_does_not_work_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = join(folder.path(), 0, 1, 60.0, 2);
    std::fs::rename(folder.path().join(FOLDER), folder.path().join("set-aside-1")).unwrap();
    assert!(earlier.next(0, &Stop::default()).is_err(), "there is no run");
    join(folder.path(), 0, 1, 60.0, 3);
    let earlier = earlier.next(0, &Stop::default()).unwrap_err().to_string();
    assert!(earlier.contains("is the record of another run by now"), "{earlier}");
}

#[cfg(unix)]
#[test]
fn nothing_is_filled_or_removed_behind_a_link_and_nothing_of_others() {
    let stages = || vec![Stage::new("rows", 1)];
    for linked in [FOLDER, ".shards/parts", ".shards/claims"] {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(elsewhere.path().join("mine"), "").unwrap();
        let link = folder.path().join(linked);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), link).unwrap();
        let joined = Board::join(folder.path(), &options(0, 1, 60.0), "test", stages(), json!({}));
        assert!(joined.unwrap_err().to_string().contains("is a link"), "{linked}");
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1, "{linked}");
    }
    let folder = tempfile::tempdir().unwrap();
    let board = join(folder.path(), 0, 1, 60.0, 1);
    let claim = board.next(0, &Stop::default()).unwrap().unwrap();
    let (part, mine) = (claim.part("txt"), board.folder.join("parts/mine.txt"));
    [&part, &mine].into_iter().for_each(|path| std::fs::write(path, "").unwrap());
    claim.complete(Some(&part), json!({})).unwrap();
    board.clear().unwrap();
    assert!(!part.exists() && mine.exists() && names(&board.folder.join("claims")).unwrap().is_empty());
}

#[test]
fn a_shard_that_is_given_up_or_whose_worker_ended_is_free_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let board = join(folder.path(), 0, 1, 3600.0, 1);
    let stage = Stage::new("rows", 1);
    let first = board.claim(&stage, &[0]).unwrap().unwrap();
    assert!(board.claim(&stage, &[0]).unwrap().is_none());
    drop(first);
    let second = board.claim(&stage, &[0]).unwrap().unwrap();
    assert_eq!(second.epoch, 1);
    // As if a process with another start had left it.
    let file = claim_file(&board.folder, "rows-00000", 1);
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("\"started\":").unwrap();
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
    std::fs::write(&file, format!("{before}\"started\":1{after}")).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(board.claim(&stage, &[0]).unwrap().unwrap().epoch, 2);
    }
}

#[test]
fn a_shard_that_is_given_up_ends_the_wait_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let board = join(folder.path(), 0, 1, 3600.0, 2);
    let (_first, second) =
        (board.next(0, &Stop::default()).unwrap(), board.next(0, &Stop::default()).unwrap().unwrap());
    let waits = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            waits.fetch_add(1, Ordering::SeqCst);
            board.next(0, &Stop::default()).unwrap().map(|claim| claim.epoch)
        });
        while waits.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(second);
        assert_eq!(waiting.join().unwrap(), Some(1));
    });
    let text = crate::status::text(folder.path(), Duration::from_secs(60)).unwrap();
    assert!(text.contains("rows: 2 shards, 0 done, 1 running, 0 stale, 1 missing"), "{text}");
    assert!(text.contains("running 0: worker 0, process ") && text.contains("  missing 1\n"), "{text}");
    assert!(text.contains("to run what is left: "), "{text}");
}

/// The share of claims in the time of 100 workers of 10,000 shards, one of which is played here: the others have done theirs.
/// With ten seconds for a shard, claims and markers must take less than 1%.
#[test]
fn claims_among_ten_thousand_shards_take_little_time() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, workers) = (10_000, 100);
    let board = join(folder.path(), 0, workers, 120.0, shards);
    let stage = Stage::new("rows", shards);
    for shard in (0..shards).filter(|shard| shard % workers != 0) {
        std::fs::write(claim_file(&board.folder, &stage.unit(shard), 0), "").unwrap();
        std::fs::write(board.folder.join(DONE).join(stage.unit(shard)), "").unwrap();
    }
    let start = std::time::Instant::now();
    let mut count = 0;
    while let Some(claim) = board.next(0, &Stop::default()).unwrap() {
        claim.complete(None, json!({})).unwrap();
        count += 1;
    }
    let each = start.elapsed().as_secs_f64() / f64::from(count);
    println!("{count} shards of {shards}: {:.2} ms each for claim and marker", each * 1e3);
    assert_eq!(count, 100);
    assert!(each < 0.01 * 10.0, "{each} s");
}
