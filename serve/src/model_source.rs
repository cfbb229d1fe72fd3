//! Where a model is loaded from, by itself or with the adapters that share its weights.

use std::path::Path;

/// A model to load: a location, and the name for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelSource {
    pub(crate) name: String,
    pub(crate) location: String,
}

impl ModelSource {
    /// Reads the argument of `--model`, which is `NAME=LOCATION` or a location, whose last component is the name then.
    pub(crate) fn new(argument: &str) -> Result<Self, String> {
        let (name, location) = match argument.split_once('=') {
            Some((name, location)) if !name.contains('/') => (name.to_owned(), location),
            _ => {
                let path = Path::new(argument);
                let last = path.file_name().or_else(|| path.components().next_back().map(|c| c.as_os_str()));
                (last.unwrap_or_default().to_string_lossy().into_owned(), argument)
            }
        };
        let is_bad = |c: char| c.is_whitespace() || c.is_control();
        if name.is_empty() || location.is_empty() || name.chars().any(is_bad) {
            return Err(format!(
                "`{argument}` is not `[NAME=]FOLDER`, `[NAME=]FILE.gguf` or `[NAME=]owner/name`; give a name without spaces"
            ));
        }
        Ok(Self { name, location: location.to_owned() })
    }
}

/// A base model and the adapters that are served over it; mostly a model alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelGroup {
    pub(crate) base: ModelSource,
    /// Whether clients can ask for the base itself.
    pub(crate) is_base_served: bool,
    pub(crate) adapters: Vec<ModelSource>,
}

impl ModelGroup {
    /// A model without adapters.
    pub(crate) fn alone(base: ModelSource) -> Self {
        Self { base, is_base_served: true, adapters: Vec::new() }
    }

    /// The models that clients can ask for.
    pub(crate) fn served(&self) -> impl Iterator<Item = &ModelSource> {
        self.is_base_served.then_some(&self.base).into_iter().chain(&self.adapters)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::ModelSource;

    #[test]
    fn names_and_locations_are_read() {
        let named = |argument: &str| {
            let ModelSource { name, location } = ModelSource::new(argument).unwrap();
            (name, location)
        };
        let pair = |name: &str, location: &str| (name.to_owned(), location.to_owned());
        assert_eq!(named("runs/sft/final/"), pair("final", "runs/sft/final/"));
        assert_eq!(named("owner/name"), pair("name", "owner/name"));
        assert_eq!(named("tiny=runs/sft"), pair("tiny", "runs/sft"));
        assert_eq!(named("runs/lr=3/final"), pair("final", "runs/lr=3/final"));
        for bad in ["=x", "a=", ""] {
            assert!(ModelSource::new(bad).is_err());
        }
    }
}
