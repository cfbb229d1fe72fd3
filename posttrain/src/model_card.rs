//! The model card (README.md) beside a finished model: what it was trained from, on what and with which settings, taken
//! from run.json, and under which license, which is the parent's. A card that somebody else wrote is never replaced.

use anyhow::Result;
use checkpoint::is_hub_id;
use serde_json::{Map, Value};
use std::path::Path;

/// The card's name.
const FILE: &str = "README.md";
/// By which a card of an earlier run is recognized.
const MARK: &str = "<!-- written by posttrain -->";
/// Entries of the configuration that are long, or hashes.
const LEFT_OUT: [&str; 6] = ["model_config", "chat_template", "model_sha256", "data", "shards", "weights"];

/// Writes the card into a run's folder, unless it has one of somebody else's. `license` has the fields by which the parent's
/// card names its license.
///
/// # Errors
/// Names the file when it cannot be written.
pub(crate) fn write(folder: &Path, run: &Map<String, Value>, license: &[(String, String)]) -> Result<()> {
    let path = folder.join(FILE);
    let is_others = std::fs::read_to_string(&path).map_or(path.exists(), |text| !text.contains(MARK));
    if !is_others {
        files::atomic::write(&path, text(folder, run, license))?;
    }
    Ok(())
}

fn text(folder: &Path, run: &Map<String, Value>, license: &[(String, String)]) -> String {
    let field = |name: &str| run.get(name).unwrap_or(&Value::Null);
    let configuration = field("configuration");
    let is_adapter = ["lora_rank", "lora_init"].iter().any(|name| configuration.get(*name).is_some());
    let (command, base) = (word(field("command")), word(field("model")));
    let title = last_part(&folder.display().to_string());
    let library = if is_adapter { "peft" } else { "transformers" };
    let mut text = format!("---\nlibrary_name: {library}\n");
    if is_hub_id(&base) {
        text += &format!("base_model: {base}\n");
    }
    text.extend(license.iter().map(|(name, value)| format!("{name}: {value}\n")));
    let kind = if is_adapter { "A LoRA adapter" } else { "A model" };
    text += &format!("tags:\n- posttrain\n- {command}\n---\n{MARK}\n\n# {title}\n\n");
    text += &format!("{kind} trained with `posttrain {command}` from {}.\n\n", named(&base));
    let progress = field("progress");
    text += &format!("- Steps: {}\n- Tokens: {}\n", progress["step"], progress["num_tokens"]);
    if let (Some(step), Some(loss)) = (progress["best"][0].as_u64(), progress["best"][1].as_f64()) {
        text += &format!("- Best evaluation loss: {loss:.4} after step {step}\n");
    }
    text += "\n## Data\n\n";
    for (name, purpose) in field("data").as_object().into_iter().flatten() {
        text += &format!("- {}: {}\n", named(name), word(purpose));
    }
    let mut settings = configuration.as_object().cloned().unwrap_or_default();
    settings.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    // Paths of the machine are nobody's business.
    settings.values_mut().filter(|value| value.as_str().is_some_and(|text| text.contains('/'))).for_each(
        |value| {
            *value = named(&word(value)).into();
        },
    );
    text + &format!("\n## Settings\n\n```json\n{:#}\n```\n", Value::Object(settings))
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns a hub id as it is, and the last part of a path.
fn named(name: &str) -> String {
    if is_hub_id(name) && !Path::new(name).exists() { name.to_owned() } else { last_part(name) }
}

fn last_part(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    fn run() -> Map<String, Value> {
        let run = json!({
            "command": "sft", "model": "owner/base", "data": {"/home/me/rows.jsonl": "train"},
            "progress": {"step": 7, "num_tokens": 900, "best": [5, 1.25]},
            "configuration": {"lora_rank": 16, "learning_rate": 1e-4, "model_sha256": "abc", "lora_init": "/home/me/first"},
        });
        run.as_object().unwrap().clone()
    }

    fn license() -> [(String, String); 1] {
        [("license".to_owned(), "apache-2.0".to_owned())]
    }

    #[test]
    fn the_card_names_base_data_and_settings_but_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        write(folder.path(), &run(), &license()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in [
            "base_model: owner/base\nlicense: apache-2.0\n",
            "library_name: peft",
            "from owner/base",
            "- rows.jsonl: train",
            "1.2500 after step 5",
            "\"learning_rate\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("/home") && !text.contains("abc"), "{text}");
    }

    #[test]
    fn a_card_of_somebody_else_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, "mine").unwrap();
        write(folder.path(), &run(), &license()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::write(&path, format!("{MARK} of an earlier run")).unwrap();
        write(folder.path(), &run(), &license()).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("Steps: 7"));
    }
}
