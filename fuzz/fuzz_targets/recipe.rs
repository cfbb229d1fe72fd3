//! Recipes: a task's settings, template or schema, and the stages of a curation.
#![no_main]

use generate::Prompts;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

/// A task, and a file of its prompts.
const FILES: [(&str, &str); 4] = [
    ("preferences", "recipe.toml"),
    ("annotate-edu", "score.jinja"),
    ("annotate-edu", "recipe.toml"),
    ("function-calling", "recipe.toml"),
];
const CURATION: [&str; 3] = ["recipe.toml", "recipe.json", "recipe.yaml"];

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder for files"));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let choice = usize::from(*first) % (FILES.len() + CURATION.len());
    FOLDER.with_borrow(|folder| match FILES.get(choice) {
        Some((task, file)) => {
            let own = folder.path().join(task);
            std::fs::create_dir_all(&own).expect("the task's folder is made");
            std::fs::write(own.join(file), rest).expect("the file is written");
            let prompts = Prompts::open(Some(folder.path())).expect("a folder of a task");
            let _ = generate::recipe(task, &prompts);
            std::fs::remove_dir_all(own).expect("the task's folder is removed");
        }
        None => {
            let path = folder.path().join(CURATION[choice - FILES.len()]);
            std::fs::write(&path, rest).expect("the file is written");
            let _ = curate::recipe::Recipe::read(path.to_str().expect("a UTF-8 path"), &[], &[]);
            std::fs::remove_file(path).expect("the file is removed");
        }
    });
});
