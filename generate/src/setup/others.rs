//! Teachers beside the main one: each is named for a part that only some tasks have.

use super::Common;
use crate::recipe::{Profile, Recipe, Task};
use anyhow::{Result, bail};

/// What a task may ask of somebody else than the main teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Judging,
    Rewards,
    Safety,
    Completions,
}

impl Part {
    /// Whether a task's walk ever asks for it.
    fn is_asked(self, recipe: &Recipe) -> bool {
        match (self, recipe.task) {
            (Self::Judging, Task::EverydayConversations) => false,
            (Self::Judging, Task::SmolRewrite | Task::SmolSummarization) => {
                recipe.settings.minimum_faithfulness.is_some()
            }
            (Self::Judging, _) => true,
            (Self::Rewards | Self::Safety, task) => task == Task::MagpieUltra,
            (Self::Completions, task) => task == Task::Preferences,
        }
    }
}

/// Refuses a teacher that nobody would ask.
pub(super) fn check(options: &Common, recipes: &[Recipe], profile: Profile) -> Result<()> {
    let named = [
        (Part::Judging, "--judge-teacher", options.judge_teacher.is_some()),
        (Part::Rewards, "--reward-teacher", options.reward_teacher.is_some()),
        (Part::Safety, "--safety-teacher", options.safety_teacher.is_some()),
        (Part::Completions, "--completion-teacher", !options.completion_teacher.is_empty()),
    ];
    for (part, option, is_named) in named {
        if !is_named || recipes.iter().any(|recipe| part.is_asked(recipe)) {
            continue;
        }
        let mut asking = Vec::new();
        for task in Task::ALL {
            if part.is_asked(&Recipe::load(task, profile)?) {
                asking.push(task.name());
            }
        }
        let chosen: Vec<&str> = recipes.iter().map(|recipe| recipe.task.name()).collect();
        bail!(
            "{option} would never be asked by {} under the {} profile; leave it away, or make {}",
            chosen.join(", "),
            profile.name(),
            asking.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        common: Common,
    }

    /// What is said of a command line.
    fn refused(profile: Profile, task: Task, option: &str) -> Option<String> {
        let options = Line::parse_from(["smoltalk", task.name(), option, "http://host/v1#m"]).common;
        let recipes = [Recipe::load(task, profile).unwrap()];
        check(&options, &recipes, profile).err().map(|error| error.to_string())
    }

    #[test]
    fn a_teacher_that_no_step_asks_is_refused_with_the_tasks_that_do() {
        let error = refused(Profile::Full, Task::SmolRewrite, "--reward-teacher").unwrap();
        assert!(error.contains("--reward-teacher") && error.ends_with("or make magpie-ultra"), "{error}");
        let error = refused(Profile::Full, Task::SmolRewrite, "--judge-teacher").unwrap();
        assert!(error.contains("full profile") && error.contains("system-chats"), "{error}");
        assert!(!error.contains("smol-summarization") && !error.contains("everyday"), "{error}");
        for (profile, task, option, is_refused) in [
            (Profile::Pocket, Task::SmolRewrite, "--judge-teacher", false),
            (Profile::Pocket, Task::EverydayConversations, "--judge-teacher", true),
            (Profile::Full, Task::FunctionCalling, "--judge-teacher", false),
            (Profile::Full, Task::MagpieUltra, "--safety-teacher", false),
            (Profile::Full, Task::Preferences, "--safety-teacher", true),
            (Profile::Full, Task::Preferences, "--completion-teacher", false),
            (Profile::Full, Task::MagpieUltra, "--completion-teacher", true),
        ] {
            assert_eq!(refused(profile, task, option).is_some(), is_refused, "{task:?} {option}");
        }
    }
}
