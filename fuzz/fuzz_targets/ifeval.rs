//! IFEval's and IFBench's instructions: arguments of a stranger's dataset, replies of a model.
#![no_main]

use ifeval::{IFBENCH_IDS, INSTRUCTION_IDS, Instruction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (arguments, reply) = text.split_once('\u{1e}').unwrap_or(("{}", text));
    let Ok(arguments) = serde_json::from_str(arguments) else { return };
    let at = usize::from(*first) % (INSTRUCTION_IDS.len() + IFBENCH_IDS.len());
    let instruction = match INSTRUCTION_IDS.get(at) {
        Some(id) => Instruction::new(id, &arguments),
        None => Instruction::ifbench(IFBENCH_IDS[at - INSTRUCTION_IDS.len()], &arguments),
    };
    if let Ok(instruction) = instruction {
        let _ = instruction.strict(reply);
        let _ = instruction.loose(reply);
    }
});
