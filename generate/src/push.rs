//! `smoltalk push`: uploads a dataset or a model to the Hugging Face hub.

use crate::run::IN_FLIGHT_FILE;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use hub::{Id, Kind, Settings, Upload};
use std::path::{Path, PathBuf};

/// Options of `smoltalk push`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder with a dataset or a checkpoint
    folder: PathBuf,
    /// Repository, `owner/name`; it is created if it does not exist
    #[arg(value_parser = repository)]
    repository: Id,
    /// What the repository contains; by default what the folder does
    #[arg(long, value_enum)]
    kind: Option<Content>,
    /// Let everybody read a repository that is created
    #[arg(long)]
    public: bool,
    /// First line of the commit
    #[arg(long, default_value = "Upload with smoltalk push")]
    message: String,
    /// Print the names of the files, and upload nothing
    #[arg(long)]
    dry_run: bool,
}

/// The kinds of repositories.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Content {
    /// Rows and their card
    Dataset,
    /// A checkpoint folder
    Model,
}

fn repository(text: &str) -> Result<Id, String> {
    Id::parse(text).ok_or_else(|| "not a repository of the hub; give `owner/name`".to_owned())
}

/// Uploads the folder's files as one commit and prints its address; returns the exit code.
///
/// # Errors
/// When the folder has nothing to upload, or the hub refuses.
pub fn run(options: &Options) -> Result<u8> {
    let folder = &options.folder;
    let kind = match options.kind {
        Some(Content::Dataset) => Kind::Dataset,
        Some(Content::Model) => Kind::Model,
        None if folder.join("config.json").is_file() && folder.join("tokenizer.json").is_file() => {
            Kind::Model
        }
        None => Kind::Dataset,
    };
    let mut names = Vec::new();
    collect(folder, "", kind, &mut names)?;
    names.sort();
    if options.dry_run {
        for name in &names {
            terminal::results!("{name}")?;
        }
        return Ok(0);
    }
    if !names.iter().any(|name| name == "README.md") {
        terminal::message!(
            "warning: {} has no README.md, so the repository will have no card",
            folder.display()
        );
    }
    let upload = Upload {
        folder,
        names,
        id: &options.repository,
        kind,
        is_private: !options.public,
        summary: &options.message,
    };
    terminal::results!("{}", hub::upload(Settings::from_environment()?, &upload)?)?;
    Ok(0)
}

/// Names of files for the hub: no hidden ones, no links, none of a run's own.
fn collect(folder: &Path, prefix: &str, kind: Kind, names: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            bail!("{} is not UTF-8, which the hub requires; rename it", entry.path().display());
        };
        let full_name = format!("{prefix}{name}");
        let file_type = entry.file_type()?;
        if name.starts_with('.') || (prefix.is_empty() && is_of_run(&name, kind)) {
            continue;
        }
        if file_type.is_dir() {
            collect(&entry.path(), &format!("{full_name}/"), kind, names)?;
        } else if file_type.is_file() {
            names.push(full_name);
        } else {
            terminal::message!(
                "warning: {} is a link or a special file, and is left out",
                entry.path().display()
            );
        }
    }
    Ok(())
}

/// What a run keeps for itself: answers of teachers, locks, checkpoints with the optimizer's state.
fn is_of_run(name: &str, kind: Kind) -> bool {
    let is_store = name.starts_with("store.") || name == IN_FLIGHT_FILE || name.starts_with("set-aside-");
    let is_training = matches!(name, "checkpoints" | "runs" | "metrics.jsonl")
        || ["unreadable-step-", "diverged-step-"].iter().any(|prefix| name.starts_with(prefix));
    is_store || (kind == Kind::Model && is_training)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_keeps_for_itself_is_not_uploaded() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "README.md",
            "data/all/train-0.parquet",
            "store.sqlite",
            "store.sqlite-wal",
            ".lock",
            "checkpoints/a",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let names = |kind| {
            let mut names = Vec::new();
            collect(folder.path(), "", kind, &mut names).unwrap();
            names.sort();
            names
        };
        assert_eq!(names(Kind::Model), ["README.md", "data/all/train-0.parquet"]);
        assert_eq!(names(Kind::Dataset), ["README.md", "checkpoints/a", "data/all/train-0.parquet"]);
    }
}
