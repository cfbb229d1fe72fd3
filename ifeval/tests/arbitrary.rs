//! Any text and any arguments give a verdict or an error, never a panic.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ifeval::{IFBENCH_IDS, INSTRUCTION_IDS, Instruction};
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

/// IFBench's instructions, each with `word` and `number` as its arguments; those that refuse them are left out.
fn ifbench_instructions(word: &str, number: usize) -> Vec<Instruction> {
    let arguments = |id: &str| match id {
        "count:word_count_range" => json!({"min_words": number, "max_words": number + 1}),
        "count:unique_word_count"
        | "count:person_names"
        | "count:numbers"
        | "count:words_japanese"
        | "count:pronouns" => json!({"N": number}),
        "count:conjunctions" | "words:repeats" | "sentence:increment" => json!({"small_n": number}),
        "count:keywords_multiple" => {
            json!({"keyword1": word, "keyword2": word, "keyword3": word, "keyword4": word, "keyword5": word})
        }
        "ratio:stop_words" => json!({"percentage": number}),
        "ratio:overlap" => json!({"percentage": number, "reference_text": word}),
        "words:keywords_specific_position" => json!({"keyword": word, "n": number, "m": number}),
        "words:words_position" => json!({"keyword": word}),
        "sentence:keyword" => json!({"word": word, "N": number}),
        "format:options" => json!({"options": word}),
        "format:list" => json!({"sep": word}),
        "repeat:repeat_change" => json!({"prompt_to_repeat": word}),
        "repeat:repeat_span" => json!({"prompt_to_repeat": word, "n_start": number, "n_end": number + 2}),
        _ => json!({}),
    };
    let instruction = |id: &&str| Instruction::ifbench(id, arguments(id).as_object().unwrap()).ok();
    IFBENCH_IDS.iter().filter_map(instruction).collect()
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

#[test]
fn every_id_of_ifbench_has_its_arguments() {
    assert_eq!(ifbench_instructions("word", 1).len(), IFBENCH_IDS.len());
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
    fn every_text_has_a_verdict_of_ifbench(response in text(), word in text(), number in 0_usize..5) {
        for instruction in ifbench_instructions(&word, number) {
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
        for id in IFBENCH_IDS {
            for name in ["N", "small_n", "percentage", "keyword", "word", "options", "sep", "prompt_to_repeat"] {
                let _ = Instruction::ifbench(id, json!({name: value}).as_object().unwrap());
            }
        }
    }
}
