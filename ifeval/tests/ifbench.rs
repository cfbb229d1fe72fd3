//! Compares the verdicts with those of IFBench's own package: every text of `ifbench.jsonl` (`make_ifbench_comparison.py`
//! writes it), or of the file that the environment variable `IFBENCH_COMPARISON` names, on every instruction.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ifeval::{IFBENCH_IDS, Instruction};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Instructions {
    instructions: Vec<Arguments>,
}

#[derive(Deserialize)]
struct Arguments {
    id: String,
    kwargs: Map<String, Value>,
}

/// The verdicts are hexadecimal numbers; the lowest bit is that of the first instruction.
#[derive(Deserialize)]
struct Text {
    text: String,
    strict: String,
    loose: String,
}

/// The verdicts of one id: how many there are, how many texts follow by the reference, and how many of ours differ.
#[derive(Default)]
struct Tally {
    verdicts: usize,
    strict_true: usize,
    loose_true: usize,
    different: usize,
}

#[test]
fn verdicts_are_those_of_ifbench() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ifbench.jsonl");
    let path = std::env::var("IFBENCH_COMPARISON").unwrap_or_else(|_| default.to_owned());
    let file = std::fs::read_to_string(&path).unwrap();
    let mut lines = file.lines();
    println!("{}", lines.next().unwrap());
    let Instructions { instructions } = serde_json::from_str(lines.next().unwrap()).unwrap();
    let checks: Vec<Instruction> =
        instructions.iter().map(|one| Instruction::ifbench(&one.id, &one.kwargs).unwrap()).collect();

    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut texts = 0;
    for line in lines {
        let row: Text = serde_json::from_str(line).unwrap();
        texts += 1;
        for (at, check) in checks.iter().enumerate() {
            let expected = (bit(&row.strict, at), bit(&row.loose, at));
            let ours = (check.strict(&row.text), check.loose(&row.text));
            let tally = tallies.entry(check.id()).or_default();
            tally.verdicts += 1;
            tally.strict_true += usize::from(expected.0);
            tally.loose_true += usize::from(expected.1);
            if ours != expected {
                tally.different += 1;
                let Arguments { id, kwargs } = &instructions[at];
                println!("{id} {kwargs:?}: ours {ours:?}, reference {expected:?}: {:?}", row.text);
            }
        }
    }

    println!("{:<34}{:>9}{:>9}{:>9}{:>11}", "instruction", "verdicts", "strict", "loose", "different");
    for (id, tally) in &tallies {
        let Tally { verdicts, strict_true, loose_true, different } = tally;
        println!("{id:<34}{verdicts:>9}{strict_true:>9}{loose_true:>9}{different:>11}");
    }
    assert!(texts >= 1000, "{texts} texts");
    for id in IFBENCH_IDS {
        let tally = &tallies[id];
        let has_both = |followed: usize| followed > 0 && followed < tally.verdicts;
        assert!(has_both(tally.strict_true) && has_both(tally.loose_true), "{id}: all verdicts are equal");
        assert_eq!(tally.different, 0, "{id}: verdicts differ from the reference's; they are printed above");
    }
}

/// The bit number `at` of a hexadecimal number.
fn bit(number: &str, at: usize) -> bool {
    let digit = number.len().checked_sub(1 + at / 4).and_then(|place| number[place..].chars().next());
    digit.is_some_and(|digit| digit.to_digit(16).unwrap() >> (at % 4) & 1 == 1)
}
