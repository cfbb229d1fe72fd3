//! `config.json` of a BERT checkpoint. What would be computed otherwise than here is refused.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::path::Path;

/// The sizes of a model.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    model_type: String,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    #[serde(default = "epsilon")]
    pub(crate) layer_norm_eps: f32,
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn absolute() -> String {
    "absolute".to_owned()
}

/// transformers' default.
fn epsilon() -> f32 {
    1e-12
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| {
            format!(
                "cannot read {}; a sentence encoder is a checkpoint folder with config.json",
                path.display()
            )
        })?;
        let config: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no config of BERT", path.display()))?;
        config.check().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let Self { model_type, hidden_act, position_embedding_type, .. } = self;
        if model_type != "bert" {
            bail!("`model_type` is `{model_type}`; encoders of type bert are computed");
        }
        ensure!(hidden_act == "gelu", "`hidden_act` is `{hidden_act}`; encoders with gelu are computed");
        ensure!(
            position_embedding_type == "absolute",
            "`position_embedding_type` is `{position_embedding_type}`; encoders with absolute ones are computed"
        );
        ensure!(
            self.num_attention_heads > 0 && self.hidden_size.is_multiple_of(self.num_attention_heads),
            "`hidden_size` {} is no multiple of `num_attention_heads` {}",
            self.hidden_size,
            self.num_attention_heads
        );
        for (name, value) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            ensure!(value > 0, "`{name}` is 0; it must be at least 1");
        }
        Ok(())
    }

    /// The elements of a head.
    pub(crate) fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}
