//! The vocabulary of a GGUF file, and the entries of its metadata under `tokenizer.`.

use crate::gguf::file::GgufFile;
use crate::gguf::value::Value as Field;
use serde_json::{Map, Value, json};

/// Kinds of tokens, numbered as `llama_token_type` of llama.cpp.
pub(in crate::gguf) const NORMAL: i64 = 1;
pub(in crate::gguf) const UNKNOWN: i64 = 2;
pub(in crate::gguf) const CONTROL: i64 = 3;
pub(in crate::gguf) const USER_DEFINED: i64 = 4;
pub(in crate::gguf) const UNUSED: i64 = 5;
pub(in crate::gguf) const BYTE: i64 = 6;

/// The vocabulary as the file lists it.
pub(super) struct Vocabulary<'a> {
    pub(super) file: &'a GgufFile,
    pub(super) tokens: Vec<&'a str>,
    /// The kind of each token; NORMAL where the file says nothing.
    pub(super) kinds: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(file: &'a GgufFile) -> Result<Self, String> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        let listed = file.value(TOKENS).ok_or_else(|| format!("has no metadata `{TOKENS}`"))?;
        let tokens = listed.texts().collect::<Result<Vec<&str>, _>>();
        let tokens = tokens.map_err(|bytes| format!("`{TOKENS}` has the entry {bytes:02x?}, not UTF-8"))?;
        if tokens.is_empty() {
            return Err(format!("`{TOKENS}` has no strings"));
        }
        let mut kinds: Vec<i64> = match file.value("tokenizer.ggml.token_type") {
            Some(list) => list.integers().collect(),
            None => Vec::new(),
        };
        kinds.resize(tokens.len(), NORMAL);
        Ok(Self { file, tokens, kinds })
    }

    pub(super) fn field(&self, name: &str) -> Option<Field<'a>> {
        self.file.value(&format!("tokenizer.{name}"))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.field(name)?.text()
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.field(name)?.bool()
    }

    pub(super) fn id(&self, name: &str) -> Option<u32> {
        let id = u32::try_from(self.field(name)?.unsigned()?).ok()?;
        ((id as usize) < self.tokens.len()).then_some(id)
    }

    /// The text of the token whose id is in the metadata `name`.
    pub(super) fn special(&self, name: &str) -> Option<&'a str> {
        self.id(name).map(|id| self.tokens[id as usize])
    }

    /// Ids by token, in order, without those that stand for nothing. Of two equal tokens the first one counts.
    pub(super) fn ids(&self) -> Map<String, Value> {
        let mut ids = Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if self.kinds[id] != UNUSED {
                ids.entry((*token).to_owned()).or_insert_with(|| id.into());
            }
        }
        ids
    }

    /// The tokens that are found in a text before it is split: control tokens, which are special, and others.
    pub(super) fn added_tokens(&self) -> Vec<Value> {
        let added = self.tokens.iter().enumerate().filter(|(id, token)| {
            matches!(self.kinds[*id], CONTROL | UNKNOWN | USER_DEFINED) && !token.is_empty()
        });
        let token = |(id, token): (usize, &&str)| {
            json!({"id": id, "content": token, "special": self.kinds[id] != USER_DEFINED, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        };
        added.map(token).collect()
    }

    /// What puts the special tokens around a text that the file asks for; `adds_bos` is the default of its kind.
    pub(super) fn post_processor(&self, adds_bos: bool) -> Value {
        let wanted = |flag: &str, default: bool, id: &str| {
            self.id(id)
                .filter(|_| self.flag(flag).unwrap_or(default))
                .map(|id| (id, self.tokens[id as usize]))
        };
        let bos = wanted("ggml.add_bos_token", adds_bos, "ggml.bos_token_id");
        let eos = wanted("ggml.add_eos_token", false, "ggml.eos_token_id");
        if bos.is_none() && eos.is_none() {
            return Value::Null;
        }
        let special = |token: Option<(u32, &str)>| {
            token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": 0}}))
        };
        let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let around = |texts: Vec<Value>| -> Vec<Value> {
            special(bos).into_iter().chain(texts).chain(special(eos)).collect()
        };
        let described = bos
            .into_iter()
            .chain(eos)
            .map(|(id, text)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})));
        json!({
            "type": "TemplateProcessing",
            "single": around(vec![text("A")]),
            "pair": around(vec![text("A"), text("B")]),
            "special_tokens": described.collect::<Map<String, Value>>()
        })
    }

    pub(super) fn tokenizer_config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        let names = [
            ("bos_token", "ggml.bos_token_id"),
            ("eos_token", "ggml.eos_token_id"),
            ("unk_token", "ggml.unknown_token_id"),
            ("pad_token", "ggml.padding_token_id"),
        ];
        for (name, key) in names {
            if let Some(token) = self.special(key) {
                config.insert(name.to_owned(), token.into());
            }
        }
        config.insert("clean_up_tokenization_spaces".to_owned(), false.into());
        config.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
        config
    }
}
