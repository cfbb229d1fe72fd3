//! Rows of every layout that is read.

use serde_json::{Value, json};

/// Two rows or more of every layout, by its name.
#[allow(clippy::too_many_lines, reason = "a table")]
pub(crate) fn layouts() -> Vec<(&'static str, Vec<Value>)> {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let chat =
        |number: u32| json!([turn("user", &format!("Name tree {number}.")), turn("assistant", "Oak.")]);
    let call = json!([{"type": "function", "function": {"name": "find", "arguments": {"x": 1}}}]);
    let asks = |number: u32| json!({"role": "assistant", "content": format!("Seeking {number}."), "tool_calls": call});
    let node = |id: &str, parent: Option<&str>, text: &str, role: &str, rank: Option<u8>| json!({"message_id": id, "parent_id": parent, "message_tree_id": "t", "text": text, "role": role, "rank": rank, "deleted": false});
    let two = |row: &dyn Fn(u32) -> Value| vec![row(1), row(2)];
    vec![
        ("messages", two(&|n| json!({"messages": chat(n), "score": n, "tags": ["a"]}))),
        ("messages_as_text", two(&|n| json!({"messages": chat(n).to_string()}))),
        (
            "turns_of_other_lengths",
            vec![
                json!({"messages": chat(1)}),
                json!({"messages": [turn("system", "Be brief."), turn("user", "a"), turn("assistant", "b")], "note": "late"}),
            ],
        ),
        (
            "calls",
            two(
                &|n| json!({"messages": [turn("user", "Find."), asks(n), {"role": "tool", "content": "1", "tool_call_id": "c"}, turn("assistant", "One.")], "tools": "[{\"type\": \"function\", \"function\": {\"name\": \"find\", \"parameters\": {\"type\": \"object\"}}}]"}),
            ),
        ),
        (
            "calls_of_other_tools",
            vec![
                json!({"messages": [turn("user", "Find."), asks(1)]}),
                json!({"messages": [turn("user", "Go."), {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "go", "arguments": {"to": "the sea", "fast": true}}}]}]}),
            ],
        ),
        (
            "weights",
            two(
                &|n| json!({"messages": [turn("user", "a"), {"role": "assistant", "content": n.to_string(), "weight": 0}, turn("user", "b"), {"role": "assistant", "content": "d", "weight": 1}]}),
            ),
        ),
        (
            "parts",
            two(
                &|n| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": format!("Hi {n}")}]}, {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}]}),
            ),
        ),
        (
            "reasoning",
            two(
                &|n| json!({"messages": [turn("user", "Why?"), {"role": "assistant", "content": "So.", "reasoning_content": format!("Think {n}.")}]}),
            ),
        ),
        (
            "sharegpt",
            two(
                &|n| json!({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": n.to_string()}]}),
            ),
        ),
        ("turns_as_texts", two(&|n| json!({"data": ["Hi", n.to_string()], "id": "0"}))),
        ("inputs_and_outputs", two(&|n| json!({"conversation": [{"input": "Hi", "output": n.to_string()}]}))),
        (
            "struct_of_lists",
            two(&|n| json!({"conversations": {"from": ["human", "gpt"], "value": ["Hi", n.to_string()]}})),
        ),
        (
            "gemini",
            two(
                &|n| json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": n.to_string()}]}]}),
            ),
        ),
        (
            "alpaca",
            vec![
                json!({"instruction": "Add.", "input": "1, 2", "output": "3"}),
                json!({"instruction": "Greet.", "input": "", "output": "Hello", "system": "Be kind.", "history": [["Hi", "Yes?"]]}),
            ],
        ),
        (
            "alpaca_pair",
            two(&|n| json!({"instruction": "Add.", "input": "", "output": [n.to_string(), "Cat."]})),
        ),
        (
            "question_context",
            two(
                &|n| json!({"question": "When?", "context": "It opens at nine.", "answer": format!("At nine, {n}.")}),
            ),
        ),
        (
            "open_orca",
            two(
                &|n| json!({"system_prompt": "Be brief.", "question": "Name a tree.", "response": n.to_string()}),
            ),
        ),
        (
            "self_instruct",
            two(
                &|n| json!({"instruction": "Add.", "instances": [{"input": "1, 2", "output": n.to_string()}]}),
            ),
        ),
        (
            "prompt_completion",
            two(
                &|n| json!({"prompt": [turn("user", "Hi")], "completion": [turn("assistant", &n.to_string())]}),
            ),
        ),
        (
            "pair",
            two(
                &|n| json!({"prompt": "Hi", "chosen": n.to_string(), "rejected": "No", "score_chosen": 4.5, "score_rejected": 1.0}),
            ),
        ),
        (
            "pair_of_conversations",
            two(
                &|n| json!({"chosen": chat(n), "rejected": [turn("user", &format!("Name tree {n}.")), turn("assistant", "Cat.")]}),
            ),
        ),
        (
            "hh",
            two(
                &|n| json!({"chosen": format!("\n\nHuman: Hi\n\nAssistant: {n}"), "rejected": "\n\nHuman: Hi\n\nAssistant: No"}),
            ),
        ),
        ("swift", two(&|n| json!({"messages": chat(n), "rejected_response": "Cat."}))),
        (
            "openai_pair",
            two(
                &|n| json!({"input": {"messages": [turn("user", "Hi")]}, "preferred_output": [turn("assistant", &n.to_string())], "non_preferred_output": [turn("assistant", "No")]}),
            ),
        ),
        (
            "arena",
            two(
                &|n| json!({"conversation_a": chat(n), "conversation_b": [turn("user", &format!("Name tree {n}.")), turn("assistant", "Cat.")], "winner": "model_a"}),
            ),
        ),
        (
            "safe_rlhf",
            two(
                &|n| json!({"prompt": "Hi", "response_0": "No", "response_1": n.to_string(), "better_response_id": 1}),
            ),
        ),
        (
            "ultrafeedback",
            two(
                &|n| json!({"instruction": "Hi", "completions": [{"response": "No", "overall_score": 1.0}, {"response": n.to_string(), "overall_score": 9.0}]}),
            ),
        ),
        (
            "nectar",
            two(
                &|n| json!({"prompt": "\n\nHuman: Hi\n\nAssistant: ", "answers": [{"answer": "No", "rank": 7}, {"answer": n.to_string(), "rank": 1}]}),
            ),
        ),
        (
            "kto",
            vec![
                json!({"prompt": "Hi", "completion": "Hello", "label": true}),
                json!({"prompt": "Hi", "completion": "Go.", "label": false}),
            ],
        ),
        (
            "tree",
            two(
                &|n| json!({"prompt": {"text": "Hi", "role": "prompter", "replies": [{"text": n.to_string(), "role": "assistant", "rank": 0, "replies": []}]}}),
            ),
        ),
        (
            "flat_tree",
            vec![
                node("a", None, "Hi", "prompter", None),
                node("b", Some("a"), "No", "assistant", Some(1)),
                node("c", Some("a"), "Hello", "assistant", Some(0)),
            ],
        ),
        (
            "xlam",
            two(
                &|n| json!({"query": format!("Hi {n}"), "tools": "[]", "answers": "[{\"name\": \"wave\", \"arguments\": {}}]"}),
            ),
        ),
        (
            "glaive",
            two(
                &|n| json!({"system": "SYSTEM: You have no functions.", "chat": format!("USER: Hi {n}\n\n\nASSISTANT: Hello <|endoftext|>")}),
            ),
        ),
        ("document", two(&|n| json!({"text": format!("A document, {n}."), "meta": {"url": "a", "n": n}}))),
        ("prompt_alone", two(&|n| json!({"instruction": format!("Name tree {n}.")}))),
    ]
}
