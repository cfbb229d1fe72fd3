//! Bodies of the server's requests, grammars in GBNF, and answers with calls of tools in the formats of the model families.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serve::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    let [kind, choice, rest @ ..] = bytes else { return };
    match kind % 3 {
        0 => fuzzing::request(*choice, rest),
        1 => drop(fuzzing::lark_of_gbnf(&String::from_utf8_lossy(rest))),
        _ => fuzzing::answer(*choice, &String::from_utf8_lossy(rest)),
    }
});
