//! The dataset card (README.md): Hugging Face's front matter, which `load_dataset` reads, before a body for people.

use serde_json::Value;

/// One loadable configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// The name of each split and the glob pattern of its files, relative to the card.
    pub data_files: Vec<(String, String)>,
    /// The types of its columns ([`crate::columns::Columns::features`]), for files that do not state them.
    pub features: Option<Value>,
}

/// The fields of the front matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrontMatter {
    /// The dataset's name for people.
    pub pretty_name: String,
    /// ISO 639-1 codes.
    pub languages: Vec<String>,
    /// Search terms.
    pub tags: Vec<String>,
    /// Rows in total, for the size category.
    pub rows: usize,
    /// The first one is the default.
    pub configs: Vec<Config>,
}

/// The whole text of README.md.
pub fn card(front: &FrontMatter, body: &str) -> String {
    let mut text = String::from("---\n");
    text.push_str(&format!("pretty_name: {}\n", quoted(&front.pretty_name)));
    if !front.languages.is_empty() {
        text.push_str("language:\n");
    }
    for language in &front.languages {
        text.push_str(&format!("- {}\n", quoted(language)));
    }
    text.push_str("task_categories:\n- text-generation\n");
    text.push_str(&format!("size_categories:\n- {}\ntags:\n", size_category(front.rows)));
    for tag in &front.tags {
        text.push_str(&format!("- {}\n", quoted(tag)));
    }
    text.push_str("configs:\n");
    for (index, config) in front.configs.iter().enumerate() {
        text.push_str(&format!("- config_name: {}\n", quoted(&config.name)));
        if index == 0 {
            text.push_str("  default: true\n");
        }
        text.push_str("  data_files:\n");
        for (split, path) in &config.data_files {
            text.push_str(&format!("  - split: {}\n    path: {}\n", quoted(split), quoted(path)));
        }
    }
    text.push_str(&dataset_info(&front.configs));
    format!("{text}---\n\n{}\n", body.trim_end())
}

/// The types of the columns of each configuration that states them.
fn dataset_info(configs: &[Config]) -> String {
    let stated = configs.iter().filter_map(|config| Some((config, config.features.as_ref()?)));
    let entries: Vec<String> = stated
        .map(|(config, features)| {
            // JSON is YAML on one line.
            format!("- config_name: {}\n  features: {features}\n", quoted(&config.name))
        })
        .collect();
    if entries.is_empty() { String::new() } else { format!("dataset_info:\n{}", entries.concat()) }
}

/// Text from outside, such as the name of a folder, as Markdown that prints it: on one line, without markup.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => shown.extend(['\\', character]),
            other if other.is_control() => shown.push(' '),
            other => shown.push(other),
        }
    }
    shown
}

/// Text as a YAML string: every JSON string is one.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn size_category(rows: usize) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        100_000_000..1_000_000_000 => "100M<n<1B",
        _ => "n>1B",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_no_markup() {
        let name = "x`<img src=a onerror=b>\n---\n# y|z";
        assert_eq!(plain(name), "x\\`&lt;img src=a onerror=b&gt; --- \\# y\\|z");
        assert_eq!(plain("my data-2.0"), "my data-2.0");
    }

    #[test]
    fn odd_names_stay_strings() {
        let config = Config {
            name: "yes: \"no\"".into(),
            data_files: vec![("train".into(), "data/*.parquet".into())],
            features: Some(serde_json::json!([{"name": "text", "dtype": "string"}])),
        };
        let front = FrontMatter {
            pretty_name: "0x1F".into(),
            tags: vec!["null".into()],
            rows: 12,
            configs: vec![config],
            languages: vec!["no".into()],
        };
        let text = card(&front, "# Body\n");
        assert!(text.starts_with("---\npretty_name: \"0x1F\"\nlanguage:\n- \"no\"\n"), "{text}");
        assert!(text.contains("- config_name: \"yes: \\\"no\\\"\"\n  default: true\n"), "{text}");
        assert!(
            text.contains(
                "dataset_info:\n- config_name: \"yes: \\\"no\\\"\"\n  features: [{\"name\":\"text\""
            ),
            "{text}"
        );
        assert!(text.ends_with("---\n\n# Body\n"), "{text}");
    }
}
