//! Compares the verdicts with those of lm-evaluation-harness, on the pairs in `ifeval.jsonl` (`make_comparison.py`
//! writes it) or in the file that the environment variable `IFEVAL_COMPARISON` names.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ifeval::{INSTRUCTION_IDS, Instruction};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Pair {
    id: String,
    kwargs: Map<String, Value>,
    response: String,
    strict: bool,
    loose: bool,
}

/// The pairs of one instruction, the verdicts that agree, and the responses that follow it by the reference.
#[derive(Default)]
struct Tally {
    pairs: usize,
    strict_agree: usize,
    loose_agree: usize,
    strict_true: usize,
    loose_true: usize,
}

#[test]
fn verdicts_agree_with_the_reference() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ifeval.jsonl");
    let path = std::env::var("IFEVAL_COMPARISON").unwrap_or_else(|_| default.to_owned());
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    println!("{}", lines.next().unwrap());
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for line in lines {
        let pair: Pair = serde_json::from_str(line).unwrap();
        let instruction = Instruction::new(&pair.id, &pair.kwargs).unwrap();
        let (strict, loose) = (instruction.strict(&pair.response), instruction.loose(&pair.response));
        if (strict, loose) != (pair.strict, pair.loose) {
            println!("ours: strict {strict}, loose {loose}; reference: {line}");
        }
        let tally = tallies.entry(pair.id).or_default();
        tally.pairs += 1;
        tally.strict_agree += usize::from(strict == pair.strict);
        tally.loose_agree += usize::from(loose == pair.loose);
        tally.strict_true += usize::from(pair.strict);
        tally.loose_true += usize::from(pair.loose);
    }

    println!("{:<48}{:>7}{:>18}{:>18}", "instruction", "pairs", "strict (followed)", "loose (followed)");
    for (id, tally) in &tallies {
        let Tally { pairs, strict_agree, loose_agree, strict_true, loose_true } = tally;
        println!("{id:<48}{pairs:>7}{strict_agree:>11} {strict_true:>6}{loose_agree:>11} {loose_true:>6}");
        let has_both = |followed: usize| followed > 0 && followed < *pairs;
        assert!(
            has_both(*strict_true) && has_both(*loose_true),
            "{id}: all verdicts are equal, so they test nothing"
        );
    }
    assert!(INSTRUCTION_IDS.iter().all(|id| tallies.contains_key(*id)), "an instruction has no pair");
    let sum = |part: fn(&Tally) -> usize| tallies.values().map(part).sum::<usize>();
    let pairs = sum(|tally| tally.pairs);
    assert!(pairs >= 2000, "{pairs} pairs");
    for (name, agree) in
        [("strict", sum(|tally| tally.strict_agree)), ("loose", sum(|tally| tally.loose_agree))]
    {
        let share = 100.0 * agree as f64 / pairs as f64;
        println!("{name}: {agree} of {pairs} verdicts agree, {share:.3}%");
        assert!(share >= 99.5, "{name}: {share:.3}% agree");
    }
}
