#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use files::run_folder::Lock;
use serde_json::json;
use tempfile::TempDir;

const LEASE: Duration = Duration::from_millis(80);

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    [CLAIMS, PARTS, DONE].iter().for_each(|name| std::fs::create_dir(folder.path().join(name)).unwrap());
    folder
}

fn claim(folder: &TempDir, epoch: u32, lease: Duration) -> Claim {
    let content = ClaimFile { owner: Owner::this(), worker: 0, released: false };
    Claim::create(folder.path(), ("rows-00000".to_owned(), 0, epoch), content, lease).unwrap().unwrap()
}

/// A worker that was paused does not wait for its next renewal to learn that it lost.
#[test]
fn a_claim_is_lost_as_soon_as_another_one_a_marker_or_another_run_is_there() {
    let day = Duration::from_secs(86_400);
    type Loss = fn(&TempDir, &Claim);
    let losses: [Loss; 4] = [
        |folder, _| drop(claim(folder, 1, LEASE)),
        |_, claim| std::fs::write(&claim.files.marker, "").unwrap(),
        |_, claim| std::fs::remove_file(&claim.files.claim).unwrap(),
        |_, claim| std::fs::write(&claim.files.claim, "of another run").unwrap(),
    ];
    for lose in losses {
        let folder = folder();
        let paused = claim(&folder, 0, day);
        assert!(!paused.is_lost_now() && !paused.is_lost());
        lose(&folder, &paused);
        assert!(!paused.is_lost(), "its next renewal is hours away");
        assert!(paused.is_lost_now() && paused.is_lost());
        // Given up, it writes no claim where another run may be.
        let before = std::fs::read(&paused.files.claim).ok();
        let path = paused.files.claim.clone();
        drop(paused);
        assert_eq!(std::fs::read(path).ok(), before);
    }
}

#[test]
fn a_worker_whose_part_was_removed_by_the_one_that_finished_has_lost() {
    let folder = folder();
    let (paused, taken) = (claim(&folder, 0, LEASE), claim(&folder, 1, LEASE));
    let part = paused.part("txt");
    assert!(taken.complete(None, json!({})).unwrap());
    assert!(!paused.complete(Some(&part), json!({})).unwrap());
    let other = self::folder();
    let third = claim(&other, 0, LEASE);
    assert!(third.complete(Some(&part), json!({})).is_err(), "a part that is missing otherwise is an error");
}

#[cfg(unix)]
#[test]
fn a_claim_that_became_a_link_is_not_renewed_through_it() {
    let folder = folder();
    let stranger = folder.path().join("stranger");
    let claim = claim(&folder, 0, Duration::from_secs(3600));
    std::fs::write(&stranger, &claim.files.bytes).unwrap();
    std::fs::remove_file(&claim.files.claim).unwrap();
    std::os::unix::fs::symlink(&stranger, &claim.files.claim).unwrap();
    assert!(claim.files.renew().is_err());
}

#[test]
fn a_finisher_waits_while_a_paused_one_has_the_lock() {
    let (folder, out) = (folder(), tempfile::tempdir().unwrap());
    let (claim, stop) = (claim(&folder, 0, LEASE), Stop::default());
    let open = || Ok(Lock::acquire(out.path(), "another")?);
    let paused = Lock::acquire(out.path(), "paused").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| claim.wait_for(&stop, open).unwrap());
        std::thread::sleep(LEASE * 2);
        assert!(!waiting.is_finished());
        drop(paused);
        assert!(waiting.join().unwrap().is_some());
    });
    let error = claim.wait_for(&stop, || -> Result<()> { anyhow::bail!("the disk is full") }).unwrap_err();
    assert_eq!(error.to_string(), "the disk is full");
    // The paused one has finished.
    let _paused = Lock::acquire(out.path(), "paused").unwrap();
    std::fs::write(&claim.files.marker, "").unwrap();
    assert!(claim.wait_for(&stop, open).unwrap().is_none());
}
