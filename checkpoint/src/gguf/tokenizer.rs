//! Tokenizer, special tokens and chat template from a GGUF file's metadata.
//!
//! The metadata become the text of a `tokenizer.json`, so that tokens, streams and constraints are computed by the code
//! of every other checkpoint, and what training writes is complete.

use super::file::GgufFile;
use super::value::Value as Field;
use serde_json::{Map, Value, json};

mod byte_level;
mod sentencepiece;

/// Kinds of tokens, numbered as `llama_token_type` of llama.cpp.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// The text side of a GGUF file.
#[derive(Debug, Default)]
pub(crate) struct GgufText {
    /// Its own chat template.
    pub(crate) template: Option<String>,
    /// The text of its beginning of sequence; empty if it has none.
    pub(crate) bos_token: String,
    /// The text of its end of sequence; empty if it has none.
    pub(crate) eos_token: String,
    /// Ids that end a generation, as far as the file names them.
    pub(crate) stop_ids: Vec<u32>,
    /// What a `tokenizer_config.json` beside it would say.
    pub(crate) tokenizer_config: Map<String, Value>,
    /// The text of a `tokenizer.json`.
    pub(crate) tokenizer_json: String,
}

/// The vocabulary as the file lists it.
struct Vocabulary<'a> {
    file: &'a GgufFile,
    tokens: Vec<&'a str>,
    /// The kind of each token; NORMAL where the file says nothing.
    kinds: Vec<i64>,
}

impl GgufText {
    /// Reads the metadata; the error does not name the file.
    ///
    /// # Errors
    /// Names the key that is missing, or the kind of tokenizer that is not supported.
    pub(crate) fn read(file: &GgufFile) -> Result<Self, String> {
        let vocabulary = Vocabulary::read(file)?;
        let tokenizer = match vocabulary.text("ggml.model") {
            Some("gpt2") => byte_level::tokenizer(&vocabulary)?,
            Some("llama") => sentencepiece::tokenizer(&vocabulary)?,
            model => {
                return Err(format!(
                    "has a tokenizer of the kind {:?}, which is not supported; expected \"gpt2\" or \"llama\"",
                    model.unwrap_or("(none)")
                ));
            }
        };
        let special = |name: &str| vocabulary.special(name).unwrap_or_default().to_owned();
        let ends = ["ggml.eos_token_id", "ggml.eot_token_id", "ggml.eom_token_id"];
        let stop_ids = ends.into_iter().filter_map(|name| vocabulary.id(name)).collect();
        Ok(Self {
            template: vocabulary.text("chat_template").map(str::to_owned),
            bos_token: special("ggml.bos_token_id"),
            eos_token: special("ggml.eos_token_id"),
            stop_ids,
            tokenizer_config: vocabulary.tokenizer_config(),
            tokenizer_json: tokenizer.to_string(),
        })
    }
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a GgufFile) -> Result<Self, String> {
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

    fn field(&self, name: &str) -> Option<Field<'a>> {
        self.file.value(&format!("tokenizer.{name}"))
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.field(name)?.text()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.field(name)?.bool()
    }

    fn id(&self, name: &str) -> Option<u32> {
        let id = u32::try_from(self.field(name)?.unsigned()?).ok()?;
        ((id as usize) < self.tokens.len()).then_some(id)
    }

    /// The text of the token whose id is in the metadata `name`.
    fn special(&self, name: &str) -> Option<&'a str> {
        self.id(name).map(|id| self.tokens[id as usize])
    }

    /// Ids by token, in order, without those that stand for nothing. Of two equal tokens the first one counts.
    fn ids(&self) -> Map<String, Value> {
        let mut ids = Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if self.kinds[id] != UNUSED {
                ids.entry((*token).to_owned()).or_insert_with(|| id.into());
            }
        }
        ids
    }

    /// The tokens that are found in a text before it is split: control tokens, which are special, and others.
    fn added_tokens(&self) -> Vec<Value> {
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
    fn post_processor(&self, adds_bos: bool) -> Value {
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

    fn tokenizer_config(&self) -> Map<String, Value> {
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
