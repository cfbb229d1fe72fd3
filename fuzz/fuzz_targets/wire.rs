//! Bodies of OpenAI's interface, as a server and as a client read them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<openai::chat::ChatRequest>(bytes);
    let _ = serde_json::from_slice::<openai::completion::CompletionRequest>(bytes);
    let _ = serde_json::from_slice::<openai::embedding::EmbeddingRequest>(bytes);
    let _ = serde_json::from_slice::<openai::response_request::ResponseRequest>(bytes);
    if let Ok(body) = openai::reply::parse(&String::from_utf8_lossy(bytes)) {
        let _ = openai::reply::CompletionReply::read(&body);
    }
});
