//! The tables of the SmolLM2 paper and of its model cards, each as one name.

use crate::task::{Group, GroupMean, Task};

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let group = |name: &str, about, tasks: &[&str]| Group {
        name: name.to_owned(),
        about,
        tasks: tasks.iter().map(|task| format!("{task}@smollm2")).collect(),
        mean: GroupMean::None,
    };
    let base = [
        "hellaswag",
        "arc",
        "piqa",
        "mmlu",
        "mmlu_pro",
        "commonsense_qa",
        "triviaqa",
        "winogrande",
        "openbookqa",
        "gsm8k",
    ];
    let instruct = ["ifeval", "hellaswag", "arc", "piqa", "mmlu", "bbh", "gsm8k"];
    let groups = vec![
        group("smollm2-base", "the table of the SmolLM2 base models", &base),
        group(
            "smollm2-instruct",
            "the table of the SmolLM2 instruct models, with `--chat-template`",
            &instruct,
        ),
    ];
    (Vec::new(), groups)
}
