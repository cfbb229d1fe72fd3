use checkpoint::{ChatTemplate, Message, Tokenizer, chat};
use serde_json::Value;
use std::collections::BTreeSet;
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
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../posttrain/recipes");
    let ours = ChatTemplate::read(&recipes.join("smollm2.jinja"), "", "").unwrap();
    for row in rows(&data.join("goldens/smollm2_chat_renders.jsonl")) {
        let generation = row["add_generation_prompt"].as_bool().unwrap();
        let text = template.render(&row["messages"], None, generation).unwrap();
        assert_eq!(text, row["text"].as_str().unwrap());
        assert_eq!(text, ours.render(&row["messages"], None, generation).unwrap());
        let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
        let found = if generation {
            chat::render_prompt(&template, &tokenizer, &messages, None).unwrap()
        } else {
            chat::render(&template, &tokenizer, &messages, None).unwrap().ids
        };
        assert_eq!(found, ids(&row["ids"]));
    }
}

/// SmolLM2's tokenizer, taught the special tokens of other models' templates.
fn many_specials(data: &Path, folder: &Path) -> Tokenizer {
    let text = std::fs::read_to_string(data.join("models/smollm2-tokenizer/tokenizer.json")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let added = value["added_tokens"].as_array_mut().unwrap();
    let mut token = added[0].clone();
    for (index, name) in [
        "</s>",
        "<s>",
        "<|eot_id|>",
        "<|begin_of_text|>",
        "<end_of_turn>",
        "<start_of_turn>",
        "[INST]",
        "[/INST]",
    ]
    .iter()
    .enumerate()
    {
        token["id"] = (49_152 + index).into();
        token["content"] = (*name).into();
        added.push(token.clone());
    }
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, value.to_string()).unwrap();
    Tokenizer::open(&path).unwrap()
}

/// Goldens: transformers 5.23 and Jinja2 3.1.6 over templates in the styles models are published with.
#[test]
fn other_templates_render_and_split_as_transformers_has_it() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = many_specials(&data, folder.path());
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/templates");
    let (mut texts, mut spans, mut refused) = (0, 0, BTreeSet::new());
    for row in rows(&goldens.join("renders.jsonl")) {
        let field = |name: &str| row[name].as_str().unwrap_or_default();
        let name = format!("{} {}", field("template"), field("conversation"));
        let file = goldens.join(format!("{}.jinja", field("template")));
        let template = ChatTemplate::read(&file, field("bos_token"), field("eos_token")).unwrap();
        let tools = row.get("tools");
        let generation = row["add_generation_prompt"].as_bool().unwrap();
        let text = template.render(&row["messages"], tools, generation);
        if let Some(expected) = row["error"].as_str() {
            let error = text.unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
            continue;
        }
        assert_eq!(text.unwrap(), field("text"), "{name}");
        texts += 1;
        let Ok(messages) = serde_json::from_value::<Vec<Message>>(row["messages"].clone()) else { continue };
        if generation {
            continue;
        }
        match chat::render(&template, &tokenizer, &messages, tools) {
            Err(_) => {
                refused.insert(name);
            }
            Ok(rendered) => spans += compare_spans(&tokenizer, &rendered, &messages, &row, &name),
        }
    }
    assert!(texts > 200 && spans > 90, "{texts} texts, {spans} spans");
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), REFUSED, "templates that change what was said");
}

/// Every assistant's content is the golden's span, but for white space that shares a token with the header.
fn compare_spans(
    tokenizer: &Tokenizer,
    rendered: &chat::RenderedChat,
    messages: &[Message],
    row: &Value,
    name: &str,
) -> usize {
    let speakers = (0..messages.len()).filter(|index| messages[*index].role == "assistant");
    let golden = row["assistant_spans"].as_array().unwrap();
    assert_eq!(speakers.clone().count(), golden.len(), "{name}");
    for (index, span) in speakers.zip(golden) {
        let bound = |side: usize| span[side].as_u64().unwrap() as usize;
        let expected = &rendered.text[bound(0)..bound(1)];
        let content = rendered.ids.iter().zip(&rendered.roles);
        let content = content.filter(|(_, role)| role.content && role.message == Some(index as u32));
        let ids: Vec<u32> = content.map(|(id, _)| *id).collect();
        let found = tokenizer.decode(&ids, false).unwrap();
        assert_eq!(found.trim_start(), expected.trim_start(), "{name}");
    }
    golden.len()
}

/// Refused, because these templates print a call instead of the empty content beside it, leave a system message
/// or a strange role out, move it to a later turn, or rewrite part of what was said.
const REFUSED: &[&str] = &[
    "llama2_inst empty",
    "llama3_headers tool_numbers",
    "mistral_inst empty",
    "mistral_inst multi_turn",
    "mistral_inst no_think",
    "mistral_inst system",
    "mistral_inst white_space",
    "qwen_tools thoughts",
    "qwen_tools tool_numbers",
    "smollm3_generation no_think",
    "smollm3_generation strange_role",
    "zephyr strange_role",
    "zephyr tool_numbers",
    "zephyr two_tool_calls",
];

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
    // The header's newline and the first space are one token, which ends in the content.
    assert_eq!(content_of(0), "\n  What is 2+2?\n<|im_end|>");
    assert_eq!(content_of(1), "4 🙂<|im_end|>");
    assert_eq!(content_of(2), "<|im_end|>");
    // Likewise the content's newlines join the header's own.
    assert_eq!(content_of(3), "\n\n\nDone.<|im_end|>");
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
    refused("{{ messages[1].content }}<|im_end|>", "omits a message");
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
