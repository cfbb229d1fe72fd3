//! Any text and any arguments give a verdict or an error, never a panic.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ifeval::{INSTRUCTION_IDS, Instruction};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An instruction of every id, with one word as its argument; those that refuse the word are left out.
fn instructions(word: &str) -> Vec<Instruction> {
    let all = json!({
        "keywords:existence": {"keywords": [word]},
        "keywords:frequency": {"keyword": word, "frequency": 1, "relation": "at least"},
        "keywords:forbidden_words": {"forbidden_words": [word]},
        "keywords:letter_frequency": {"letter": "e", "let_frequency": 2, "let_relation": "less than"},
        "language:response_language": {"language": "en"},
        "length_constraints:number_sentences": {"num_sentences": 2, "relation": "at least"},
        "length_constraints:number_paragraphs": {"num_paragraphs": 2},
        "length_constraints:number_words": {"num_words": 3, "relation": "less than"},
        "length_constraints:nth_paragraph_first_word": {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": word},
        "detectable_content:number_placeholders": {"num_placeholders": 1},
        "detectable_content:postscript": {"postscript_marker": word},
        "detectable_format:number_bullet_lists": {"num_bullets": 1},
        "detectable_format:number_highlighted_sections": {"num_highlights": 1},
        "detectable_format:multiple_sections": {"section_spliter": word, "num_sections": 1},
        "combination:repeat_prompt": {"prompt_to_repeat": word},
        "startend:end_checker": {"end_phrase": word},
        "change_case:capital_word_frequency": {"capital_frequency": 1, "capital_relation": "at least"},
    });
    let none = json!({});
    let kwargs = |id: &str| all.get(id).unwrap_or(&none).as_object().unwrap();
    INSTRUCTION_IDS.iter().filter_map(|id| Instruction::new(id, kwargs(id)).ok()).collect()
}

/// Any characters, or those that a check looks for.
fn text() -> impl Strategy<Value = String> {
    let marks = prop::sample::select(vec![
        ".",
        "...",
        "?",
        "!",
        "\"",
        "'",
        "”",
        ")",
        "[",
        "]",
        "*",
        "***",
        "******",
        "-",
        "--",
        "<<",
        ">>",
        ",",
        "\n",
        "\n\n",
        " ",
        "\t",
        "\u{1c}",
        "\u{2028}",
        "P.S.",
        "Section 1",
        "```json",
        "{",
        "}",
        "Dr",
        "U.S",
        "3",
        "A",
        "é",
        "e\u{301}",
        "ǅ",
        "İ",
        "नि",
        "日本",
        "🙂",
        "ſ",
        "word",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(marks, 0..40).prop_map(|parts| parts.concat())]
}

proptest! {
    #[test]
    fn every_text_has_a_verdict(response in text(), word in text()) {
        let instructions = instructions("word").into_iter().chain(instructions(&word)).collect::<Vec<_>>();
        prop_assert!(instructions.len() >= INSTRUCTION_IDS.len());
        for instruction in &instructions {
            let (strict, loose) = (instruction.strict(&response), instruction.loose(&response));
            prop_assert!(loose || !strict, "{}: the response itself is one of its loosened forms", instruction.id());
        }
    }

    #[test]
    fn any_arguments_are_accepted_or_refused(word in any::<String>(), number in any::<f64>(), kind in 0..4) {
        let value = match kind {
            0 => json!(word),
            1 => json!(number),
            2 => json!([word]),
            _ => Value::Null,
        };
        for id in INSTRUCTION_IDS {
            for name in ["keywords", "letter", "num_words", "relation", "language", "end_phrase", "section_spliter"] {
                let _ = Instruction::new(id, json!({name: value}).as_object().unwrap());
            }
        }
    }
}
