//! Whether programs that a teacher writes may run here: only if the user says so, and only in a sandbox that holds.

use crate::recipe::Recipe;
use crate::tasks;
use anyhow::{Result, ensure};

/// Refuses a recipe that runs code where that is not allowed or the system has no layer that holds programs in.
///
/// # Errors
/// Names the recipe, or what is open.
pub(super) fn check(recipes: &[Recipe], is_allowed: bool) -> Result<()> {
    let Some(recipe) = recipes.iter().find(|recipe| tasks::runs_code(recipe)) else { return Ok(()) };
    ensure!(
        is_allowed,
        "the recipe `{}` runs code that the teacher writes; give `--allow-code`",
        recipe.task.name
    );
    let layers = sandbox::layers()?;
    let open = match (layers.has_network, layers.can_write) {
        (false, false) => None,
        (true, _) => Some("the network"),
        (false, true) => Some("files outside its folder"),
    };
    if let Some(open) = open {
        anyhow::bail!(
            "code could reach {open}, because this system offers no layer that prevents it; use Linux 5.13 or newer"
        );
    }
    terminal::message!("note: code runs in {} with {}", layers.python, layers.active.join(", "));
    Ok(())
}
