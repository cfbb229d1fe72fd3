//! The user's own folders, by the XDG base directory specification on every system
//! (<https://specifications.freedesktop.org/basedir-spec/latest/>).

use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;
use std::path::PathBuf;

/// The project's folder in each of the user's folders.
const PROJECT: &str = "smoltalk";

/// What can be computed again: `$XDG_CACHE_HOME/smoltalk`, by default `~/.cache/smoltalk`; `None` for a user without a
/// home. The folder of temporary files is no substitute: whoever creates a name there first decides what is read from it.
pub fn cache() -> Option<PathBuf> {
    absolute(Xdg::new().ok()?.cache_dir().join(PROJECT))
}

/// The user's settings: `$XDG_CONFIG_HOME/smoltalk`, by default `~/.config/smoltalk`; `None` for a user without a home.
pub fn configuration() -> Option<PathBuf> {
    absolute(Xdg::new().ok()?.config_dir().join(PROJECT))
}

/// An empty HOME makes paths that depend on where a program is started.
fn absolute(folder: PathBuf) -> Option<PathBuf> {
    folder.is_absolute().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_absolute_and_end_in_the_projects_name() {
        for folder in [cache(), configuration()] {
            assert!(folder.is_none_or(|folder| folder.is_absolute() && folder.ends_with(PROJECT)));
        }
    }
}
