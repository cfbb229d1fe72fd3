//! Whether the tensors of mapped files are those of the config: names, shapes, and values that can be computed with.

use super::Weights;
use crate::ModelConfig;
use crate::error::Error;
use crate::tensors::expected_tensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeSet;
use std::path::Path;

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// What wraps a model when it is saved with its wrapper, and what it puts before each name.
const WRAPPERS: [(&str, &str); 3] = [
    ("_orig_mod.", "saved from a model that torch.compile wraps; save `model._orig_mod` instead"),
    ("module.", "saved from a model that DataParallel wraps; save `model.module` instead"),
    (
        "base_model.model.",
        "saved from a model that PEFT wraps; merge it with `merge_and_unload` and save that",
    ),
];

impl Weights {
    /// # Errors
    /// Names the tensor that is missing, has another shape, is not part of the architecture, or has no usable values.
    pub(super) fn check(&self, folder: &Path, config: &ModelConfig) -> Result<(), Error> {
        let expected = expected_tensors(config);
        for (name, shape) in &expected {
            let Some(index) = self.file_indices.get(name) else {
                return Err(Error::invalid(folder, self.missing(name)));
            };
            let file = &self.files[*index];
            let found = file.view(name).expect("listed when it was mapped");
            if found.shape() != shape {
                return Err(Error::invalid(
                    &file.path,
                    format!("tensor {name} has shape {:?}; config.json says {shape:?}", found.shape()),
                ));
            }
            check_values(name, &found).map_err(|reason| Error::invalid(&file.path, reason))?;
        }
        let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        // Older converters stored the rotary frequencies, which follow from the config and are not read.
        let is_derived = |name: &str| name.ends_with("rotary_emb.inv_freq") || name == HEAD;
        if let Some(name) =
            self.file_indices.keys().find(|name| !known.contains(name.as_str()) && !is_derived(name))
        {
            let reason =
                format!("the weights contain {name}, which a Llama with this config.json does not have");
            return Err(Error::invalid(folder, reason));
        }
        self.check_stored_head(folder, config)
    }

    /// A tied head may be stored as well, if it is the embedding.
    fn check_stored_head(&self, folder: &Path, config: &ModelConfig) -> Result<(), Error> {
        if !config.tie_word_embeddings || !self.file_indices.contains_key(HEAD) {
            return Ok(());
        }
        let (head, embedding) = (self.view(HEAD), self.view(EMBEDDING));
        let same_type = head.dtype() == embedding.dtype();
        if head.shape() == embedding.shape()
            && (if same_type {
                head.data() == embedding.data()
            } else {
                super::widen(&head) == super::widen(&embedding)
            })
        {
            return Ok(());
        }
        let reason = format!(
            "the weights contain {HEAD} with other values than {EMBEDDING}, but config.json says `\"tie_word_embeddings\": true`; set it to false to use the stored head, or remove the tensor"
        );
        Err(Error::invalid(folder, reason))
    }

    /// What to say of a tensor that is not there.
    fn missing(&self, name: &str) -> String {
        let bare = name.strip_prefix("model.").unwrap_or(name);
        for (prefix, explanation) in WRAPPERS {
            let wrapped = format!("{prefix}{name}");
            if self.file_indices.contains_key(&wrapped) {
                return format!("the weights have no tensor {name}, but {wrapped}: {explanation}");
            }
        }
        if self.file_indices.contains_key(bare) {
            return format!(
                "the weights have no tensor {name}, but {bare}: saved from the inner model without its head; load it with AutoModelForCausalLM and save it with `save_pretrained`"
            );
        }
        let hint = if name == HEAD {
            " (a head that is the embedding needs `\"tie_word_embeddings\": true`)"
        } else {
            ""
        };
        format!("the weights have no tensor {name}, which config.json requires{hint}")
    }
}

/// Refuses NaN and infinities, and an embedding of zeros, as a file whose blocks were never written has.
fn check_values(name: &str, tensor: &TensorView<'_>) -> Result<(), String> {
    if !is_finite(tensor) {
        return Err(format!(
            "tensor {name} contains NaN or infinity: these weights are unusable; use an earlier checkpoint, or download it again"
        ));
    }
    if name == EMBEDDING && tensor.data().iter().all(|byte| *byte == 0) {
        return Err(format!(
            "tensor {name} contains only zeros: the file is damaged; copy or download it again"
        ));
    }
    Ok(())
}

/// Whether no value has the exponent of NaN and the infinities. Each block is read without a branch, at the speed of the
/// memory.
fn is_finite(tensor: &TensorView<'_>) -> bool {
    const BLOCK: usize = 1 << 16;
    let all =
        |block: &[u8]| match tensor.dtype() {
            Dtype::F32 => block.as_chunks::<4>().0.iter().fold(true, |finite, bytes| {
                finite & ((u32::from_le_bytes(*bytes) & 0x7f80_0000) != 0x7f80_0000)
            }),
            Dtype::F16 => half_is_finite(block, 0x7c00),
            Dtype::BF16 => half_is_finite(block, 0x7f80),
            other => unreachable!("{other:?} was refused when the file was mapped"),
        };
    tensor.data().chunks(BLOCK).all(all)
}

fn half_is_finite(block: &[u8], exponent: u16) -> bool {
    let values = block.as_chunks::<2>().0.iter();
    values.fold(true, |finite, bytes| finite & ((u16::from_le_bytes(*bytes) & exponent) != exponent))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::super::tests::{tiny, values};
    use super::super::{Precision, write};
    use super::*;

    type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

    fn refusal(config: &ModelConfig, tensors: &Tensors, precision: Precision) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("model.safetensors"), tensors, precision).unwrap();
        Weights::open(folder.path(), config).err().map(|error| error.to_string())
    }

    #[test]
    fn names_of_wrapped_models_are_explained() {
        let config = tiny();
        for (prefix, expected) in [
            ("_orig_mod.", "torch.compile"),
            ("module.", "DataParallel"),
            ("base_model.model.", "merge_and_unload"),
        ] {
            let wrapped =
                values(&config).into_iter().map(|(name, shape, v)| (prefix.to_owned() + &name, shape, v));
            let reason = refusal(&config, &wrapped.collect(), Precision::F32).unwrap();
            assert!(reason.contains(expected), "{reason}");
        }
        let bare = values(&config)
            .into_iter()
            .map(|(name, shape, v)| (name.strip_prefix("model.").unwrap().to_owned(), shape, v));
        let reason = refusal(&config, &bare.collect(), Precision::F32).unwrap();
        assert!(reason.contains("but embed_tokens.weight: saved from the inner model"), "{reason}");
    }

    #[test]
    fn a_stored_head_of_a_tied_model_must_be_its_embedding() {
        let config = tiny();
        let mut tensors = values(&config);
        let (_, shape, embedding) = tensors[0].clone();
        tensors.push((HEAD.to_owned(), shape, embedding));
        assert_eq!(refusal(&config, &tensors, Precision::Bf16), None);
        tensors.last_mut().unwrap().2[3] += 1.0;
        let reason = refusal(&config, &tensors, Precision::Bf16).unwrap();
        assert!(reason.contains("other values than") && reason.contains("tie_word_embeddings"), "{reason}");
    }

    #[test]
    fn values_that_no_model_has_are_refused() {
        let config = tiny();
        for precision in [Precision::F32, Precision::Bf16] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut tensors = values(&config);
                let last = tensors.last_mut().unwrap();
                *last.2.last_mut().unwrap() = value;
                let name = last.0.clone();
                let reason = refusal(&config, &tensors, precision).unwrap();
                assert!(reason.contains(&name) && reason.contains("NaN or infinity"), "{reason}");
            }
            let mut tensors = values(&config);
            tensors[0].2.fill(0.0);
            let reason = refusal(&config, &tensors, precision).unwrap();
            assert!(reason.contains("only zeros"), "{reason}");
        }
    }

    #[test]
    fn an_index_names_files_of_its_own_folder() {
        let (folder, config) = (tempfile::tempdir().unwrap(), tiny());
        let other = tempfile::tempdir().unwrap();
        let elsewhere = other.path().join("a.safetensors");
        write(&elsewhere, &values(&config), Precision::F32).unwrap();
        let refused = |name: &str, expected: &str| {
            let index = serde_json::json!({"weight_map": {EMBEDDING: name}});
            std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
            let reason = Weights::open(folder.path(), &config).unwrap_err().to_string();
            assert!(reason.contains(expected), "{reason}");
        };
        refused(elsewhere.to_str().unwrap(), "expected the name of a file in the same folder");
        refused("../a.safetensors", "expected the name of a file in the same folder");
        refused("b.safetensors", "which is missing");
    }
}
