//! Which matrices of a GGUF file are held in more bits than the file holds.

use super::layer::Group;
use super::pack::{Arrangement, Lossless};
use checkpoint::Checkpoint;
use checkpoint::gguf::TensorType;
use checkpoint::weights::Rows;
use kernels::WeightFormat;
use std::collections::BTreeSet;

/// What a user should know about the memory of a GGUF file in its own formats: the types of matrices that are held as
/// f32, and what these take. `None` if there are none.
pub fn widened_types(checkpoint: &Checkpoint) -> Option<String> {
    let weights = &checkpoint.weights;
    if !weights.is_gguf() {
        return None;
    }
    let (mut names, mut bytes) = (BTreeSet::new(), 0);
    let mut count = |parts: &[Rows<'_>], arrangement: Arrangement| {
        if let Lossless::In(WeightFormat::F32) = Lossless::of(parts, arrangement)
            && parts.iter().any(|part| part.kind() != TensorType::F32)
        {
            names.extend(parts.iter().map(|part| part.kind().name()));
            bytes += arrangement.rows(parts) * parts[0].columns() * size_of::<f32>();
        }
    };
    for layer in 0..checkpoint.config.layers {
        for group in Group::ALL {
            count(&group.rows(weights, layer), group.arrangement());
        }
    }
    let is_untied = !checkpoint.config.tie_word_embeddings;
    for name in ["model.embed_tokens.weight"].into_iter().chain(is_untied.then_some("lm_head.weight")) {
        count(&[weights.rows(name)], Arrangement::Stacked);
    }
    let names: Vec<&str> = names.into_iter().collect();
    (bytes > 0).then(|| {
        format!(
            "some weights in {} are held as f32, which takes {} MiB of memory",
            names.join(", "),
            bytes.div_ceil(1 << 20)
        )
    })
}
