//! IFEval's instructions: arguments of a stranger's dataset, replies of a model.
#![no_main]

use ifeval::{INSTRUCTION_IDS, Instruction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (arguments, reply) = text.split_once('\u{1e}').unwrap_or(("{}", text));
    let Ok(arguments) = serde_json::from_str(arguments) else { return };
    let id = INSTRUCTION_IDS[usize::from(*first) % INSTRUCTION_IDS.len()];
    if let Ok(instruction) = Instruction::new(id, &arguments) {
        let _ = instruction.strict(reply);
        let _ = instruction.loose(reply);
    }
});
