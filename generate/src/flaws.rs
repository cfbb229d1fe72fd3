//! What is wrong with a text that a teacher wrote for a row, as far as the text itself shows it: a placeholder that nobody
//! filled in, sentences of the system prompt in the user's turn, an end that a limit of the schema made. Small teachers
//! make all three (docs/teachers-tried.md).

use serde_json::Value;
use std::collections::HashSet;

/// Characters of a sentence from which it is not repeated by chance.
const SENTENCE: usize = 30;
/// Bytes inside the brackets of a placeholder at most.
const LONGEST_PLACEHOLDER: usize = 80;
/// What a placeholder in words begins with, in lower case.
const OPENINGS: [&str; 4] = ["your ", "insert ", "name of ", "enter "];
/// Placeholders of one word, in lower case.
const WORDS: [&str; 8] = ["name", "company", "date", "product", "topic", "user", "customer", "city"];

/// The first placeholder of a text: `[company_name]`, `{company name}` of one word with an underscore, `[Your Name]`,
/// `<insert topic>`. Links, lists and code in brackets are none.
pub(crate) fn placeholder(text: &str) -> Option<&str> {
    text.char_indices().find_map(|(start, open)| {
        let close = match open {
            '[' => ']',
            '{' => '}',
            '<' => '>',
            _ => return None,
        };
        let inside = &text[start + 1..];
        let end = inside.find(close).filter(|end| *end <= LONGEST_PLACEHOLDER)?;
        let is_link = open == '[' && inside[end + 1..].starts_with('(');
        (!is_link && names_something(&inside[..end])).then(|| &text[start..=start + 1 + end])
    })
}

/// Whether the inside of brackets stands for something else.
fn names_something(inside: &str) -> bool {
    let inside = inside.trim_matches(['{', '}', ' ']).to_lowercase();
    let is_plain = inside.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '_' | '\'' | '/' | '-'));
    let is_name = inside.contains('_') && !inside.contains(' ') && !inside.starts_with('_');
    is_plain
        && (is_name
            || WORDS.contains(&inside.as_str())
            || OPENINGS.iter().any(|opening| inside.starts_with(opening)))
}

/// The first sentence of `earlier` that `text` has, too; short ones are not looked for.
pub(crate) fn repeated_sentence<'a>(text: &str, earlier: &'a str) -> Option<&'a str> {
    let text = plain(text);
    let sentences = earlier.split_inclusive(['.', '!', '?', '\n']).map(str::trim);
    let mut long = sentences.filter(|sentence| sentence.chars().count() >= SENTENCE);
    long.find(|sentence| text.contains(&plain(sentence)))
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The first text of an answer that the schema's `maxLength` cut: it is as long as it may be and ends inside a sentence. A
/// constraint ends texts there without a word.
pub(crate) fn cut_by_schema<'a>(schema: &Value, value: &'a Value) -> Option<&'a str> {
    cut(schema, schema, value, &mut HashSet::new())
}

fn cut<'a>(whole: &Value, schema: &Value, value: &'a Value, seen: &mut HashSet<String>) -> Option<&'a str> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| whole.pointer(pointer))?;
        // A reference that leads to itself without a step into the value.
        let is_new = seen.insert(reference.to_owned());
        return if is_new { cut(whole, target, value, seen) } else { None };
    }
    match value {
        Value::String(text) => {
            let limit = schema["maxLength"].as_u64()?;
            let is_full = text.chars().count() as u64 >= limit;
            let has_end = text.trim_end().ends_with(['.', '!', '?', '"', '\'', ')', '”', '。', '…']);
            (is_full && !has_end && text.contains(char::is_whitespace)).then_some(text)
        }
        Value::Array(items) => {
            items.iter().find_map(|item| cut(whole, &schema["items"], item, &mut HashSet::new()))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            cut(whole, &schema["properties"][name.as_str()], field, &mut HashSet::new())
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_found_and_links_lists_and_code_are_none() {
        for (text, found) in [
            ("You work for [company_name] in Bern.", "[company_name]"),
            ("Sign as [Your Name].", "[Your Name]"),
            ("Help users of {{product_name}} only.", "{{product_name}"),
            ("Talk about <insert topic> kindly.", "<insert topic>"),
            ("You are [Name], a guide.", "[Name]"),
        ] {
            assert_eq!(placeholder(text), Some(found), "{text}");
        }
        for text in [
            "See [the name](https://a.example).",
            "The list [1, 2, 3] and x[0].",
            "Use <b>bold</b> and {\"a\": 1}.",
            "It is [sic] so.",
            "Use [__init__] and a < b > c.",
        ] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }

    #[test]
    fn a_sentence_of_the_system_prompt_is_found_however_it_is_spaced() {
        let system = "Be kind. You are an assistant that follows instructions to the letter.\nAnswer.";
        let turn = "You are an  assistant that follows instructions\nto the letter. What is a boat?";
        assert_eq!(
            repeated_sentence(turn, system),
            Some("You are an assistant that follows instructions to the letter.")
        );
        assert_eq!(repeated_sentence("Be kind. What is a boat?", system), None);
    }

    #[test]
    fn a_text_that_fills_its_limit_inside_a_sentence_was_cut() {
        let schema = json!({"type": "object", "properties": {
            "tools": {"type": "array", "items": {"$ref": "#/$defs/tool"}}, "code": {"type": "string", "maxLength": 4}},
            "$defs": {"tool": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 20}}}}});
        let tools =
            |text: &str| json!({"tools": [{"text": "Finds a boat."}, {"text": text}], "code": "abcd"});
        let cut = |text: &str| cut_by_schema(&schema, &tools(text)).map(str::to_owned);
        assert_eq!(cut("A river carries a me"), Some("A river carries a me".to_owned()));
        assert_eq!(cut("A river carries far."), None);
        assert_eq!(cut("A river carries"), None);
        let endless = json!({"$ref": "#"});
        assert_eq!(cut_by_schema(&endless, &json!("a b")), None);
    }
}
