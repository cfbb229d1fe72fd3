//! The stage `tokens`: the tokens of a text by the tokenizer of the model that will be trained on it. It drops nothing.

use crate::fate::{Fate, drop};
use crate::page::Page;
use anyhow::Result;
use checkpoint::Tokenizer;
use serde_json::json;
use std::path::Path;

/// The column of the count.
pub(crate) const COLUMN: &str = "tokens";

/// Counts tokens.
pub(crate) struct Counter {
    tokenizer: Tokenizer,
}

impl Counter {
    /// Opens a `tokenizer.json`, or the one in a folder.
    ///
    /// # Errors
    /// Names the file that is no tokenizer.
    pub(crate) fn open(path: &str) -> Result<Self> {
        let path = Path::new(path);
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        Ok(Self { tokenizer: Tokenizer::open(&file)? })
    }

    /// The number of tokens of a text, without a beginning of sequence.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub(crate) fn tokens(&self, text: &str) -> Result<usize> {
        Ok(self.tokenizer.ids(text)?.len())
    }

    /// Puts the count on the page's row.
    pub(crate) fn count(&self, page: &mut Page) -> Option<Fate> {
        match self.tokens(page.text()) {
            Ok(tokens) => {
                page.values.insert(COLUMN.to_owned(), json!(tokens));
                None
            }
            Err(error) => Some(drop("not_tokenized", json!(format!("{error:#}")))),
        }
    }
}
