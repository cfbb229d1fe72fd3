use crate::family_training::{texts, trainable};
use crate::programs::{posttrain, read_json, succeeds};
use crate::training::{loads_with_transformers, write_expected, write_rows};
use serde_json::json;
use std::path::Path;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The license, its name on the card, named templates and unknown fields of config.json, through training, averaging and
/// merging; what describes the parent alone is left behind.
#[test]
fn a_trained_model_carries_what_its_parent_had() {
    let (model, place) = (trainable("qwen3"), tempfile::tempdir().unwrap());
    write(model.path(), "LICENSE", "Do as you like, but keep this text.\n");
    write(model.path(), "README.md", "---\nlicense: apache-2.0\nlanguage: en\n---\n# The parent\n");
    write(model.path(), "vocab.json", "{}");
    let mut config = read_json(&model.path().join("config.json"));
    config["custom"] = json!({"kept": true});
    config["_name_or_path"] = json!("/home/somebody/parent");
    write(model.path(), "config.json", &config.to_string());
    let mut settings = read_json(&model.path().join("tokenizer_config.json"));
    let template = "{% for message in messages %}{{ message.content }}<|endoftext|>{% endfor %}";
    settings["chat_template"] = json!([
        {"name": "default", "template": template},
        {"name": "tool_use", "template": "tools"},
    ]);
    write(model.path(), "tokenizer_config.json", &settings.to_string());
    let data = place.path().join("texts.jsonl");
    write_rows(&data, &texts());

    let train = |out: &Path, more: &[&str]| {
        let mut command = posttrain(place.path());
        command.arg("sft").arg("--model").arg(model.path()).arg("--data").arg(&data).arg("--out").arg(out);
        command.args(["--steps", "2", "--batch-size", "2", "--max-length", "200", "--precision", "f32"]);
        succeeds(command.args(more));
    };
    let (whole, adapter) = (place.path().join("whole"), place.path().join("adapter"));
    train(&whole, &["--save-precision", "f32"]);
    train(&adapter, &["--lora-rank", "2"]);
    let (merged, mean) = (place.path().join("merged"), place.path().join("mean"));
    succeeds(posttrain(place.path()).arg("merge").arg(&adapter).arg("--out").arg(&merged));
    succeeds(posttrain(place.path()).arg("average").args([&whole, &whole]).arg("--out").arg(&mean));

    let checkpoint = whole.join("checkpoints/step-2");
    for folder in [&whole, &checkpoint, &adapter, &merged, &mean] {
        assert_eq!(text(folder, "LICENSE"), "Do as you like, but keep this text.\n", "{folder:?}");
        assert_eq!(text(folder, "chat_template.jinja"), template, "{folder:?}");
        assert_eq!(text(folder, "additional_chat_templates/tool_use.jinja"), "tools", "{folder:?}");
        assert!(!folder.join("vocab.json").exists(), "{folder:?}");
        let list = read_json(&folder.join("checksums.json"));
        for name in ["LICENSE", "additional_chat_templates/tool_use.jinja"] {
            assert!(list["files"][name].is_object(), "{folder:?}: {list}");
        }
    }
    for folder in [&whole, &checkpoint, &merged, &mean] {
        let config = read_json(&folder.join("config.json"));
        assert_eq!(config["custom"]["kept"], true, "{folder:?}: {config}");
        assert!(
            config.get("_name_or_path").is_none() && config.get("dtype").is_none(),
            "{folder:?}: {config}"
        );
    }
    for folder in [&whole, &adapter] {
        let card = text(folder, "README.md");
        assert!(card.contains("\nlicense: apache-2.0\n") && !card.contains("The parent"), "{card}");
    }
    write_expected(&whole, None);
    loads_with_transformers(&[whole]);
}
