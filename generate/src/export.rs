//! `smoltalk prompts export`: the files of a task's recipe in a folder, to be changed and given with `--prompts`.

use crate::recipe::Prompts;
use crate::task::Task;
use crate::tasks;
use anyhow::{Context, Result, ensure};
use files::atomic;
use std::path::PathBuf;

/// Options of `smoltalk prompts`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write a task's recipe, templates and schemas into a folder, to change them and to give the folder with `--prompts`
    Export {
        /// Task whose files are written
        #[arg(value_parser = tasks::parser())]
        task: &'static Task,
        /// Folder for `--prompts`; the task's files are written into a folder with its name in it
        folder: PathBuf,
    },
}

/// Writes the files; returns the exit code.
///
/// # Errors
/// When the task's folder exists, because its files may have been changed.
pub fn run(options: &Options) -> Result<u8> {
    let Command::Export { task, folder } = &options.command;
    let target = folder.join(task.name);
    ensure!(
        target.symlink_metadata().is_err(),
        "{} exists, and its files may have been changed; remove it, or give another folder",
        target.display()
    );
    let files = Prompts::default().files(task.name)?;
    for (path, text) in &files {
        let file = target.join(path);
        let folder = file.parent().unwrap_or(&target);
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        atomic::write(&file, text)?;
    }
    terminal::results!(
        "{} files written to {}; change them and run: smoltalk preview {} --prompts {}",
        files.len(),
        target.display(),
        task.name,
        folder.display()
    )?;
    Ok(0)
}
