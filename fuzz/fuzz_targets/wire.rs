//! Bodies of answers of servers that are not ours.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(body) = openai::reply::parse(&String::from_utf8_lossy(bytes)) {
        let _ = openai::reply::CompletionReply::read(&body);
    }
});
