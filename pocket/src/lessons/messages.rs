//! The messages of a lesson.

use serde_json::{Value, json};

/// A message with a role.
pub(super) fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A user's message that is trained on, as the assistant's are.
pub(super) fn trained_user_message(content: &str) -> Value {
    json!({"role": "user", "content": content, "weight": 1})
}

/// A judge's prompt and answer; the answer is printed as a constrained engine prints JSON.
pub(super) fn judgment(prompt: &str, answer: &Value) -> Vec<Value> {
    vec![message("user", prompt), message("assistant", &checkpoint::python_json(answer))]
}

/// A conversation whose replies are trained on.
pub(super) fn conversation(turns: &[(String, String)]) -> Vec<Value> {
    turns.iter().flat_map(|(user, reply)| [message("user", user), message("assistant", reply)]).collect()
}

/// A conversation below a system prompt, of which the user's messages are trained on, too.
pub(super) fn fully_trained_conversation(system: &str, turns: &[(String, String)]) -> Vec<Value> {
    let turns =
        turns.iter().flat_map(|(user, reply)| [trained_user_message(user), message("assistant", reply)]);
    std::iter::once(message("system", system)).chain(turns).collect()
}
