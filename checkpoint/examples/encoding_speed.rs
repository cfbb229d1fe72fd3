//! Measures encoding beside the tokenizers crate, on the same texts in one run:
//! `cargo run --release -p checkpoint --example encoding_speed -- TOKENIZER.json TEXT...`. Each line of a file is a text.
//! Printed are ids alone and ids with byte ranges, on one core and on all of them, and the time of a megabyte of one letter.

use checkpoint::Tokenizer;
use std::path::Path;
use std::time::Instant;
use tokenizers::parallelism::set_parallelism;

/// Texts that the reference encodes together.
const BATCH: usize = 1024;

/// Seconds of an action.
fn seconds(action: impl FnOnce()) -> f64 {
    let start = Instant::now();
    action();
    start.elapsed().as_secs_f64()
}

/// Ids of all texts, divided among threads.
fn on_all_cores(tokenizer: &Tokenizer, texts: &[String]) {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    std::thread::scope(|scope| {
        for share in texts.chunks(texts.len().div_ceil(threads).max(1)) {
            scope.spawn(move || {
                share.iter().for_each(|text| drop(tokenizer.ids(text).expect("a text has ids")));
            });
        }
    });
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("give a tokenizer.json and files of texts");
    let tokenizer = Tokenizer::open(Path::new(&path)).expect("a tokenizer");
    let reference = tokenizers::Tokenizer::from_file(&path).expect("a tokenizer");
    let texts: Vec<String> = arguments
        .flat_map(|file| {
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
            text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let made = seconds(|| assert_eq!(tokenizer.slow_because(), None));
    let mut tokens = 0;
    let ids =
        seconds(|| tokens = texts.iter().map(|text| tokenizer.ids(text).expect("ids").len()).sum::<usize>());
    let ranges = seconds(|| texts.iter().for_each(|text| drop(tokenizer.encode(text).expect("ids"))));
    let all = seconds(|| on_all_cores(&tokenizer, &texts));
    set_parallelism(false);
    let one = |text: &String| drop(reference.encode_fast(text.as_str(), false).expect("ids"));
    let their_ids = seconds(|| texts.iter().for_each(one));
    let their_ranges = seconds(|| {
        texts.iter().for_each(|text| drop(reference.encode(text.as_str(), false).expect("ids")));
    });
    set_parallelism(true);
    let their_all = seconds(|| {
        for batch in texts.chunks(BATCH) {
            drop(
                reference.encode_batch_fast(batch.iter().map(String::as_str).collect(), false).expect("ids"),
            );
        }
    });
    println!("{tokens} tokens of {} texts; the encoder was made in {made:.3} s", texts.len());
    println!("| | tokenizers, million tokens/s | ours | ratio |\n| --- | --- | --- | --- |");
    let million = |seconds: f64| tokens as f64 / seconds / 1e6;
    for (what, theirs, ours) in [
        ("ids, one core (`encode_fast`)", their_ids, ids),
        ("ids and ranges, one core (`encode`)", their_ranges, ranges),
        ("ids, all cores (`encode_batch_fast`)", their_all, all),
    ] {
        println!("| {what} | {:.2} | {:.2} | {:.1} |", million(theirs), million(ours), theirs / ours);
    }
    for letter in ["a", " ", "é"] {
        let text = letter.repeat((1 << 20) / letter.len());
        let (ours, theirs) = (
            seconds(|| drop(tokenizer.ids(&text))),
            seconds(|| drop(reference.encode_fast(text.as_str(), false))),
        );
        println!("| a megabyte of {letter:?}, seconds | {theirs:.2} | {ours:.2} | {:.1} |", theirs / ours);
    }
}
