//! Measures the speed and the memory of the near-duplicate search:
//! `cargo run --release -p datasets --example near_duplicate_speed -- [DOCUMENTS] [WORDS]`.
//!
//! Documents consist of words drawn by Zipf's law and are generated outside of the measured time; one in ten is an earlier
//! document with one word in fifty changed. Prints documents per second and the peak resident memory, for an index into
//! which every document is inserted and for the batch function.

use datasets::duplicates::find_duplicates;
use datasets::near_duplicate::{NearDuplicates, Parameters};
use random::mix;
use std::convert::Infallible;
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| {
        argument
            .parse::<usize>()
            .unwrap_or_else(|_| panic!("`{argument}` is not a number; expected [DOCUMENTS] [WORDS]"))
    });
    let documents = arguments.next().unwrap_or(100_000);
    let words = arguments.next().unwrap_or(300);
    let base = peak_mib();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{documents} documents of {words} words, {threads} threads, {:?}", Parameters::FINEWEB);

    let mut index = NearDuplicates::new(Parameters::FINEWEB);
    let mut generating = Duration::ZERO;
    let start = Instant::now();
    for number in 0..documents {
        let before = Instant::now();
        let text = document(number, words);
        generating += before.elapsed();
        index.insert(number as u64, &text);
    }
    report("inserted one by one", documents, start.elapsed() - generating, base);
    drop(index);

    generating = Duration::ZERO;
    let start = Instant::now();
    let texts = (0..documents).map(|number| {
        let before = Instant::now();
        let text = document(number, words);
        generating += before.elapsed();
        Ok::<_, Infallible>(text)
    });
    let Ok(found) = find_duplicates(texts, Parameters::FINEWEB, Some(0.8));
    report("searched in one batch", documents, start.elapsed() - generating, base);
    let planted = (0..documents).filter(|number| copied_from(*number).is_some()).count();
    println!("{} near-duplicates at 0.8, {planted} planted", found.iter().flatten().count());
}

fn report(what: &str, documents: usize, time: Duration, base: f64) {
    let seconds = time.as_secs_f64();
    println!(
        "{what}: {seconds:.2} s, {:.0} documents/s; peak resident {:.0} MiB, {base:.0} before",
        documents as f64 / seconds,
        peak_mib()
    );
}

/// The document from which the last one of every ten is made.
fn copied_from(number: usize) -> Option<usize> {
    (number % 10 == 9).then(|| number - 1 - hash(number as u64) as usize % number.min(9))
}

fn document(number: usize, words: usize) -> String {
    let origin = copied_from(number).unwrap_or(number);
    let mut text = String::new();
    for place in 0..words {
        let is_changed =
            origin != number && hash((number * words + place) as u64 ^ 1 << 60).is_multiple_of(50);
        let document = if is_changed { number } else { origin };
        let uniform = (hash((document * words + place) as u64) >> 11) as f64 / (1u64 << 53) as f64;
        // Ranks whose logarithm is uniform: Zipf's law over 60,000 words.
        let rank = 60_000f64.powf(uniform) as u64;
        let mut letters = hash(rank ^ 1 << 50);
        for _ in 0..2 + rank.ilog2() / 2 {
            text.push((b'a' + (letters % 26) as u8) as char);
            letters /= 26;
        }
        text.push(' ');
    }
    text
}

fn hash(value: u64) -> u64 {
    mix(0, value)
}

/// Peak resident memory of this process in MiB, from Linux's procfs; NaN on other systems.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}
