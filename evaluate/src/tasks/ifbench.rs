//! IFBench (Pyatkin et al. 2025): requests with instructions that IFEval does not have, for models that were trained on
//! IFEval's; judged as IFEval is.

use super::ifeval::{document_of, score_of};
use crate::task::{DataSet, Document, Group, Metrics, Row, Scorer, Task};
use anyhow::Result;
use ifeval::Instruction;
use serde_json::Value;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "instructions that can be verified and are new (IFBench)";
    let data = DataSet {
        folders: &["ifbench"],
        files: &["IFBench_test"],
        ..DataSet::new("allenai/IFBench_test", "", "train")
    };
    let scorer = Scorer::Text(score);
    (vec![Task { scorer, ..Task::new("ifbench", about, data, document) }], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    document_of(row, Instruction::ifbench)
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    score_of(gold, response, Instruction::ifbench)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::MetricValue;
    use serde_json::json;

    #[test]
    fn instructions_are_those_of_ifbench() {
        let gold = |id: &str| {
            let kwargs = [json!({"N": null}), json!({"N": 1.0, "n": null})];
            json!({"instruction_id_list": [id, "count:numbers"], "kwargs": kwargs})
        };
        let metrics = score(&gold("format:no_whitespace"), "Sure:\n3-4").expect("known instructions");
        let verdicts = |list: &[bool]| MetricValue::Verdicts(list.to_vec());
        let expected = [
            ("prompt_level_strict_acc", MetricValue::Number(0.0)),
            ("inst_level_strict_acc", verdicts(&[false, true])),
            ("prompt_level_loose_acc", MetricValue::Number(1.0)),
            ("inst_level_loose_acc", verdicts(&[true, true])),
        ];
        assert_eq!(metrics, expected.map(|(name, value)| (name.to_owned(), value)));
        let unknown = score(&gold("punctuation:no_comma"), "x").expect_err("one of IFEval's").to_string();
        assert!(unknown.contains("IFBench") && unknown.contains("punctuation:no_comma"), "{unknown}");
    }
}
