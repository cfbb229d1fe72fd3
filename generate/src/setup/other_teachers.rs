//! Teachers besides the main one, which only some tasks call.

use crate::maker::OtherTeachers;
use crate::recipe::{Prompts, Recipe};
use crate::tasks::{ALL, maker};
use crate::teacher::{RequestOptions, RequestSettings, Role};
use crate::teachers::OtherNames;
use anyhow::{Result, bail};

/// Refuses a teacher that no step would call.
pub(super) fn check(names: &OtherNames, recipes: &[Recipe], prompts: &Prompts) -> Result<()> {
    type Calls = fn(&OtherTeachers) -> bool;
    let roles: [(Calls, &str, bool); 4] = [
        (|called| called.judge, "--judge-teacher", names.judge.is_some()),
        (|called| called.reward, "--reward-teacher", names.reward.is_some()),
        (|called| called.safety, "--safety-teacher", names.safety.is_some()),
        (|called| called.completions, "--completion-teacher", !names.completions.is_empty()),
    ];
    for (role, flag, is_named) in roles {
        let calls = |recipe: &Recipe| role(&(maker(recipe.task).calls)(recipe));
        if !is_named || recipes.iter().any(calls) {
            continue;
        }
        let mut callers = Vec::new();
        for maker in ALL {
            if calls(&maker.recipe(prompts)?) {
                callers.push(maker.task.name);
            }
        }
        let tasks: Vec<&str> = recipes.iter().map(|recipe| recipe.task.name).collect();
        bail!(
            "no step of {} calls the teacher of `{flag}` with these prompts; remove it, or generate {}",
            tasks.join(", "),
            callers.join(", ")
        );
    }
    Ok(())
}

/// Refuses options of requests to a teacher that the run does not have.
pub(super) fn check_requests(names: &OtherNames, requests: &RequestOptions<'_>) -> Result<()> {
    let roles = [
        (Role::Judge, "judge", names.judge.is_some()),
        (Role::Reward, "reward", names.reward.is_some()),
        (Role::Safety, "safety", names.safety.is_some()),
        (Role::Completion, "completion", !names.completions.is_empty()),
    ];
    for (role, name, is_named) in roles {
        if !is_named && RequestSettings::read(requests, role)? != RequestSettings::default() {
            bail!(
                "an option begins with `{name}:`, and the run has no such teacher; give `--{name}-teacher`, or remove \
                 `{name}:` to set it for the main teacher"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::setup::options::TeacherOptions;
    use crate::tasks::recipe;
    use crate::tasks::tests::with_settings;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: TeacherOptions,
    }

    /// The error of a command line with another teacher.
    fn refused(recipe: Recipe, flag: &str) -> Option<String> {
        let options = Line::parse_from(["smoltalk", recipe.task.name, flag, "http://host/v1#m"]).options;
        let names = options.other_teachers();
        check(&names, &[recipe], &Prompts::default()).err().map(|error| error.to_string())
    }

    fn built_in(task: &str) -> Recipe {
        recipe(task, &Prompts::default()).unwrap()
    }

    #[test]
    fn a_teacher_that_no_step_calls_is_refused_with_the_tasks_that_do() {
        let error = refused(built_in("smol-rewrite"), "--reward-teacher").unwrap();
        assert!(error.contains("--reward-teacher") && error.ends_with("or generate magpie-ultra"), "{error}");
        let error = refused(built_in("smol-rewrite"), "--judge-teacher").unwrap();
        assert!(error.contains("these prompts") && error.contains("system-chats"), "{error}");
        assert!(!error.contains("smol-summarization") && !error.contains("everyday"), "{error}");
        for (task, flag, is_refused) in [
            ("everyday-conversations", "--judge-teacher", true),
            ("function-calling", "--judge-teacher", false),
            ("magpie-ultra", "--safety-teacher", false),
            ("preferences", "--safety-teacher", true),
            ("preferences", "--completion-teacher", false),
            ("magpie-ultra", "--completion-teacher", true),
        ] {
            assert_eq!(refused(built_in(task), flag).is_some(), is_refused, "{task} {flag}");
        }
        let judged = with_settings("smol-rewrite", "minimum_faithfulness = 3").unwrap();
        assert_eq!(refused(judged, "--judge-teacher"), None);
    }

    #[test]
    fn options_of_a_teacher_that_is_not_there_are_refused() {
        let refused = |more: &[&str]| {
            let line = [&["smoltalk", "magpie-ultra", "--request", "judge:-seed"], more].concat();
            let options = Line::parse_from(line).options;
            let error = check_requests(&options.other_teachers(), &options.request_options());
            error.err().map(|error| error.to_string())
        };
        let error = refused(&[]).unwrap();
        assert!(error.contains("`--judge-teacher`"), "{error}");
        assert_eq!(refused(&["--judge-teacher", "http://host/v1#m"]), None);
    }
}
