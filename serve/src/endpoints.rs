//! The endpoints, one file each. A handler reads top to bottom: body, checked request, prompt, engine, answer.

pub(crate) mod chat;
pub(crate) mod chat_page;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod health;
pub(crate) mod input_tokens;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod openapi;
pub(crate) mod responses;
pub(crate) mod tokenize;
