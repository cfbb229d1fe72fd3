use serde_json::Value;
use smollm::{ChatTemplate, Message, Tokenizer, chat};
use std::path::Path;
use tests::shared_data;

fn rows(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn smollm2(data: &Path) -> (Tokenizer, ChatTemplate) {
    let folder = data.join("models/smollm2-tokenizer");
    let tokenizer = Tokenizer::open(&folder.join("tokenizer.json")).unwrap();
    let template =
        ChatTemplate::read(&folder.join("chat_template.jinja"), "<|im_start|>", "<|im_end|>").unwrap();
    (tokenizer, template)
}

/// Goldens: Hugging Face tokenizers 0.23.3.
#[test]
fn smollm2_encodings_are_exact() {
    let Some(data) = shared_data() else { return };
    let (tokenizer, _) = smollm2(&data);
    let rows = rows(&data.join("goldens/smollm2_encodings.jsonl"));
    assert!(!rows.is_empty());
    for row in rows {
        let (text, expected) = (row["text"].as_str().unwrap(), ids(&row["ids"]));
        let encoded = tokenizer.encode(text).unwrap();
        assert_eq!(encoded.ids, expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected, false).unwrap(), text);
        let bytes: Vec<u8> =
            expected.iter().flat_map(|id| tokenizer.token_bytes()[*id as usize].clone()).collect();
        assert_eq!(bytes, text.as_bytes(), "the tokens' bytes are the text's");
    }
}

/// Goldens: Jinja2 3.1.6 set up as transformers sets it.
#[test]
fn smollm2_chat_renders_are_exact() {
    let Some(data) = shared_data() else { return };
    let (tokenizer, template) = smollm2(&data);
    for row in rows(&data.join("goldens/smollm2_chat_renders.jsonl")) {
        let generation = row["add_generation_prompt"].as_bool().unwrap();
        let text = template.render(&row["messages"], None, generation).unwrap();
        assert_eq!(text, row["text"].as_str().unwrap());
        let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
        let found = if generation {
            chat::render_prompt(&template, &tokenizer, &messages, None).unwrap()
        } else {
            chat::render(&template, &tokenizer, &messages, None).unwrap().ids
        };
        assert_eq!(found, ids(&row["ids"]));
    }
}

#[test]
fn every_token_knows_its_message_and_the_stop_token_is_content() {
    let Some(data) = shared_data() else { return };
    let (tokenizer, template) = smollm2(&data);
    let messages = [
        Message::new("user", "  What is 2+2?\n"),
        Message::new("assistant", "4 🙂"),
        Message::new("user", ""),
        Message::new("assistant", "\n\nDone."),
    ];
    let rendered = chat::render(&template, &tokenizer, &messages, None).unwrap();
    let content_of = |message: u32| {
        let ids: Vec<u32> = rendered
            .ids
            .iter()
            .zip(&rendered.roles)
            .filter(|(_, role)| role.message == Some(message) && role.content)
            .map(|(id, _)| *id)
            .collect();
        tokenizer.decode(&ids, false).unwrap()
    };
    // The header's newline and the first space are one token: it is layout, as it would be in a prompt.
    assert_eq!(content_of(0), " What is 2+2?\n<|im_end|>");
    assert_eq!(content_of(1), "4 🙂<|im_end|>");
    assert_eq!(content_of(2), "<|im_end|>");
    // Likewise the content's newlines join the header's own.
    assert!(content_of(3).ends_with("Done.<|im_end|>"));
    // The default system message the template adds belongs to nobody.
    assert_eq!(rendered.roles[0].message, None);
    let first_user = rendered.roles.iter().position(|role| role.message == Some(0)).unwrap();
    assert_eq!(
        tokenizer.decode(&rendered.ids[first_user..first_user + 2], false).unwrap(),
        "<|im_start|>user"
    );
}

#[test]
fn a_template_whose_spans_cannot_be_found_is_refused() {
    let Some(data) = shared_data() else { return };
    let (tokenizer, _) = smollm2(&data);
    let messages = [Message::new("user", "Hello"), Message::new("assistant", "Hi")];
    let refused = |source: &str, expected: &str| {
        let template = ChatTemplate::new(source, "", "").unwrap();
        let error = chat::render(&template, &tokenizer, &messages, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused("{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}", "changes or reorders");
    refused("{{ messages[1].content }}<|im_end|>", "leaves a message out");
    refused("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "no special token");
    refused(
        "{% for m in messages %}{{ m.content | length }}{{ m.content }}<|im_end|>{% endfor %}",
        "depends on",
    );
}

#[test]
fn the_users_opening_is_the_template_up_to_the_users_words() {
    let template = ChatTemplate::chatml();
    let opening = chat::render_user_opening(&template, &[Message::new("system", "Be brief.")]).unwrap();
    assert_eq!(opening, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n");
}
