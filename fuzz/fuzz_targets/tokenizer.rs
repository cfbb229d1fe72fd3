//! A `tokenizer.json`: read, and if it is one, used in both directions.
#![no_main]

use checkpoint::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(tokenizer) = Tokenizer::from_json(text) else { return };
    if let Ok(encoding) = tokenizer.encode("Hello, world!\n  a\u{301} ▁ 你好 <|im_start|>") {
        let _ = tokenizer.decode(&encoding.ids, false);
    }
    let _ = tokenizer.decode(&[0, 1, 2, u32::MAX], true);
});
