//! Grammars in GBNF: what they allow, and how mistakes are named.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::{is_gbnf, to_lark};
use crate::tests::scripted::bytes_tokenizer;
use engine::{Constraint, ConstraintCompiler, Decoder, Request};

/// Whether a grammar allows a text as a whole answer. A token is a byte.
fn allows(grammar: &str, text: &str) -> bool {
    const END: u32 = 258;
    let tokenizer = bytes_tokenizer();
    let lark = to_lark(grammar).unwrap_or_else(|error| panic!("{grammar}: {error}"));
    let compiler = ConstraintCompiler::new(&tokenizer, 259, &[END]).unwrap();
    let guide =
        compiler.guide(Constraint::Lark(lark.clone())).unwrap_or_else(|error| panic!("{lark}: {error}"));
    let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
    let request = Request { prompt: vec![1], max_tokens: 4000, stop_ids: vec![END], ..Request::default() };
    let mut decoder = Decoder::new(request, Some(guide), sender);
    let takes = |decoder: &mut Decoder, id: u32| {
        let mut logits = vec![0.0; 259];
        logits[id as usize] = 1.0;
        decoder.choose(&mut logits, &tokenizer) == Some(id)
    };
    let takes_text = text.bytes().all(|byte| !decoder.is_over() && takes(&mut decoder, u32::from(byte)));
    takes_text && (decoder.is_over() || takes(&mut decoder, END))
}

#[track_caller]
fn check(grammar: &str, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(allows(grammar, text), "{text:?} of {grammar}\n{}", to_lark(grammar).unwrap());
    }
    for text in bad {
        assert!(!allows(grammar, text), "{text:?} of {grammar}\n{}", to_lark(grammar).unwrap());
    }
}

#[test]
fn literals_classes_groups_and_repetitions() {
    check("root ::= \"a\\n\\\"\\\\\\x41\\u00e9\\t\"", &["a\n\"\\Aé\t"], &["a", "a\n\"\\A"]);
    check("root ::= [a-c0-9_] [^a-c\\n\\]] .", &["a-\n", "_z.", "9\u{e9}x"], &["d--", "aab", "a]x", "a\nx"]);
    check(
        "root ::= (\"yes\" | \"no\" # a comment\n | \"maybe\")? \"!\"+",
        &["yes!", "!!", "maybe!"],
        &["yes", "nomaybe!"],
    );
    check(
        "root ::= [a]{2} [b]{1,} [c]{0,2} [d]{3,3} [e]{0}",
        &["aabddd", "aabbccddd"],
        &["abddd", "aabcccddd", "aabdd"],
    );
    check("root ::= \"\" | \"x\" [-a] [a-]", &["", "x-a", "xa-"], &["x", "xb-"]);
}

#[test]
fn rules_refer_to_one_another() {
    check(
        "root ::= greeting name \".\"\ngreeting ::=\n  \"Hi \" |\n  \"Hello \"\nname ::= [A-Z] [a-z]*\n",
        &["Hi Ann.", "Hello B."],
        &["Hi ann.", "Ann."],
    );
    // Names differ by case and dashes alone.
    check("root ::= A a a-b\nA ::= \"1\"\na ::= \"2\"\na-b ::= \"3\"", &["123"], &["213"]);
    // Right and left recursion, and a rule of itself in the middle.
    check("root ::= item+\nitem ::= \"- \" [^\\n]+ \"\\n\" item?", &["- a\n", "- a\n- b\n"], &["- a", "a\n"]);
    check("root ::= root \"+\" [0-9] | [0-9]", &["1", "1+2+3"], &["1+", "+1"]);
    check("root ::= \"(\" root? \")\"", &["()", "(())"], &["(()", "())"]);
}

/// The grammar of JSON as llama.cpp has it in spirit, in words of this test.
const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"#;

#[test]
fn json() {
    check(
        JSON,
        &["{}", "{ \"a\": [1, -2.5e3, true], \"b\\n\": {\"c\": null}}", "{\"é\":\"\\u00e9\"\n  }"],
        &["[]", "{\"a\"}", "{\"a\": tru}", "{\"a\": \"\u{1}\"}", "{\"a\": 01}"],
    );
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (grammar, expected) in [
        ("a ::= \"x\"", "no rule `root`"),
        ("root ::= other", "the rule `other` is used and not defined"),
        ("root ::= \"a\"\nroot ::= \"b\"", "the rule `root` is defined twice"),
        ("root ::= \"a", "a closing quote"),
        ("root ::= \"a\"\n\nx ::= [a", "line 3"),
        ("root ::= (\"a\"", "`)`"),
        ("root ::= \"a\"{x}", "{m,n}"),
        ("root ::= \"a\"{3,2}", "{m,n}"),
        ("root ::= \"a\"{99999}", "up to 2000"),
        ("root ::= [z-a]", "turn it around"),
        ("root ::= []", "an empty class"),
        ("root ::= \"\\q\"", "an escape"),
        ("root ::= \"\\ud800\"", "4 hexadecimal digits"),
        ("root ::= <think> \"a\"", "tokens by name"),
        ("root = \"a\"", "`::=`"),
        ("root ::= \"a\" %", "the end of the rule"),
    ] {
        let error = to_lark(grammar).unwrap_err();
        assert!(error.contains(expected), "{grammar}: {error}");
    }
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(to_lark(&deep).unwrap_err().contains("deeper than"));
    let many: String = (0..3000).map(|index| format!("r{index} ::= \"a\"\n")).collect();
    assert!(to_lark(&many).unwrap_err().contains("more than 2000 rules"));
    assert!(is_gbnf(JSON) && !is_gbnf("start: \"a ::= b\"") && !is_gbnf("start: A\nA: /[a]/"));
}

#[test]
fn doubling_rules_are_compiled_or_refused_in_bounded_time() {
    let began = std::time::Instant::now();
    let rules: String =
        (0..40).map(|index| format!("r{index} ::= r{} r{}\n", index + 1, index + 1)).collect();
    let lark = to_lark(&format!("root ::= r0\n{rules}r40 ::= \"a\"")).unwrap();
    let compiler = ConstraintCompiler::new(&bytes_tokenizer(), 259, &[258]).unwrap();
    let _ = compiler.guide(Constraint::Lark(lark));
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
}
