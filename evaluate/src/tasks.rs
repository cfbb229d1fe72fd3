//! The list of benchmark tasks. A task is one file here and one line in [`FILES`].

mod arc;
mod bbh;
mod bbh_zeroshot;
mod commonsense_qa;
mod gsm8k;
mod hellaswag;
mod humaneval;
mod ifbench;
mod ifeval;
mod mbpp;
mod minerva_math;
mod mmlu;
mod mmlu_pro;
mod mt_bench;
mod nq_open;
mod open_rewrite;
mod openbookqa;
mod piqa;
mod smollm2;
mod texts;
mod triviaqa;
mod winogrande;

use crate::task::{Group, Task, TasksOfFile};
use anyhow::{Result, bail};

/// The tasks and groups of each file.
const FILES: &[TasksOfFile] = &[
    arc::tasks,
    bbh::tasks,
    bbh_zeroshot::tasks,
    commonsense_qa::tasks,
    gsm8k::tasks,
    hellaswag::tasks,
    humaneval::tasks,
    ifbench::tasks,
    ifeval::tasks,
    mbpp::tasks,
    minerva_math::tasks,
    mmlu::tasks,
    mmlu_pro::tasks,
    mt_bench::tasks,
    nq_open::tasks,
    open_rewrite::tasks,
    openbookqa::tasks,
    piqa::tasks,
    smollm2::tasks,
    texts::tasks,
    triviaqa::tasks,
    winogrande::tasks,
];

/// All tasks and groups; `more` are those that the caller hands in.
pub(crate) fn all(more: &[TasksOfFile]) -> (Vec<Task>, Vec<Group>) {
    let (mut tasks, mut groups) = (Vec::new(), Vec::new());
    for (some_tasks, some_groups) in FILES.iter().chain(more).map(|file| file()) {
        tasks.extend(some_tasks);
        groups.extend(some_groups);
    }
    (tasks, groups)
}

/// The tasks that these names stand for, each once and in the order of the names, and the groups among them.
///
/// # Errors
/// Names what is neither a task nor a group, with the names that resemble it.
pub(crate) fn select(names: &[String], more: &[TasksOfFile]) -> Result<(Vec<Task>, Vec<Group>)> {
    let (tasks, groups) = all(more);
    let (mut selected, mut used) = (Vec::new(), Vec::new());
    for name in names {
        add(name, &tasks, &groups, &mut selected, &mut used)?;
    }
    Ok((selected, used))
}

fn add(
    name: &str,
    tasks: &[Task],
    groups: &[Group],
    selected: &mut Vec<Task>,
    used: &mut Vec<Group>,
) -> Result<()> {
    if let Some(task) = tasks.iter().find(|task| task.name == name) {
        if selected.iter().all(|other| other.name != name) {
            selected.push(task.clone());
        }
        return Ok(());
    }
    let Some(group) = groups.iter().find(|group| group.name == name) else {
        let stem: String = name.chars().take(4).collect::<String>().to_lowercase();
        let names = groups.iter().map(|group| &group.name).chain(tasks.iter().map(|task| &task.name));
        let similar: Vec<String> = names
            .filter(|other| other.starts_with(&stem))
            .take(6)
            .map(|other| format!("`{other}`"))
            .collect();
        let hint = match similar.is_empty() {
            true => String::new(),
            false => format!("; did you mean {}", similar.join(", ")),
        };
        bail!("there is no task `{name}`{hint}; `smoleval tasks` lists them");
    };
    for member in &group.tasks {
        add(member, tasks, groups, selected, used)?;
    }
    if used.iter().all(|other| other.name != group.name) {
        used.push(group.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_groups_have_their_tasks() {
        let (tasks, groups) = all(&[]);
        let names: Vec<&String> =
            tasks.iter().map(|task| &task.name).chain(groups.iter().map(|group| &group.name)).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
        let every: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
        let (_, used) = select(&every, &[]).expect("every member exists");
        assert_eq!(used.len(), groups.len());
    }

    #[test]
    fn an_unknown_task_is_refused_with_names_that_resemble_it() {
        let error = select(&["arc_esay".to_owned()], &[]).expect_err("no such task").to_string();
        assert!(error.contains("`arc_esay`") && error.contains("`arc_easy`"), "{error}");
    }
}
