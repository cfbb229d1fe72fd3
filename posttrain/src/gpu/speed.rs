//! How fast a card can be: what its maker says, and what a large product reaches.

use super::attention::{Saved, Shape, backward, forward};
use super::buffer::Buffer;
use super::card::{Card, Matrix};
use super::lists::Tiles;
use anyhow::Result;
use half::bf16;
use kernels::{AttentionShape, Element, Into};
use std::time::Instant;

/// Dense bf16 FLOP/s with f32 sums, by NVIDIA's data sheets, the first name that is part of the card's. Variants with
/// less power than their namesakes come before them.
const DATA_SHEETS: [(&str, f64); 14] = [
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100", 989e12),
    ("H20", 148e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("A10G", 70e12),
    ("RTX 4090", 165e12),
];

/// What the data sheet of the card of that name says, where it is known.
pub fn datasheet(name: &str) -> Option<f64> {
    DATA_SHEETS.iter().find(|(known, _)| name.contains(known)).map(|(_, flops)| *flops)
}

/// FLOP/s of a product of three sides, f32 out: the best of a few.
///
/// # Errors
/// When the card fails.
pub fn product<E: Element>(card: &Card, side: usize) -> Result<f64> {
    let numbers = numbers::<E>(card, "a product to be measured", side * side)?;
    let mut out = card.allocate::<f32>("a product to be measured", side * side)?;
    let seconds = best_of(card, 8, || {
        let matrix = Matrix::new(numbers.read(), side, side);
        card.product(out.write(), matrix, matrix, Into::Replace)
    })?;
    Ok(2.0 * (side as f64).powi(3) / seconds)
}

/// FLOP/s of attention in bf16 over so many tokens in sequences of `length`: of the forward pass (two products of half
/// the square), and of the backward pass, which counts as five though some are done twice.
///
/// # Errors
/// When the card fails.
pub fn attention(card: &Card, of: AttentionShape, length: usize, tokens: usize) -> Result<[f64; 2]> {
    let starts: Vec<usize> = (0..=tokens / length).map(|sequence| sequence * length).collect();
    let tokens = starts[starts.len() - 1];
    let AttentionShape { heads, kv_heads, head_dim } = of;
    let (row, mixed) = ((heads + 2 * kv_heads) * head_dim, heads * head_dim);
    let name = "attention to be measured";
    let (qkv, dout) =
        (numbers::<bf16>(card, name, tokens * row)?, numbers::<bf16>(card, name, tokens * mixed)?);
    let tiles = Tiles::new(&starts);
    let by_query = card.copy_of("tiles", tiles.by_query.as_flattened())?;
    let by_key = card.copy_of("tiles", tiles.by_key.as_flattened())?;
    let mut out = card.allocate::<bf16>(name, tokens * mixed)?;
    let mut dqkv = card.allocate::<bf16>(name, tokens * row)?;
    let mut log_sums = card.allocate::<f32>(name, tokens * heads)?;
    let mut delta = card.allocate::<f32>(name, tokens * heads)?;
    let shape = Shape::new(tokens, of);
    let ahead = best_of(card, 8, || {
        forward(card, out.write(), log_sums.write(), qkv.read(), by_query.read(), shape)
    })?;
    let back = best_of(card, 8, || {
        let saved = Saved {
            dout: dout.read(),
            out: out.read(),
            log_sums: log_sums.read(),
            qkv: qkv.read(),
            by_query: by_query.read(),
            by_key: by_key.read(),
        };
        backward(card, dqkv.write(), delta.write(), saved, shape)
    })?;
    // A product over half the square: 2 D T length / 2 a head.
    let product = (tokens * length * mixed) as f64;
    Ok([2.0 * product / ahead, 5.0 * product / back])
}

/// Numbers like weights': a card that multiplies simple ones draws less power and is faster.
fn numbers<E: Element>(card: &Card, name: &'static str, count: usize) -> Result<Buffer<E>> {
    let number = |place: usize| (crate::random::mix(1, place as u64) % 2001) as f32 / 1000.0 - 1.0;
    let values: Vec<E> = (0..count).map(|place| E::from_f32(number(place))).collect();
    card.copy_of(name, &values)
}

/// The fewest seconds of some runs of what is launched.
fn best_of(card: &Card, runs: usize, mut launch: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        card.wait()?;
        let start = Instant::now();
        launch()?;
        card.wait()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::datasheet;

    #[test]
    fn cards_are_known_by_the_drivers_name_for_them() {
        assert_eq!(datasheet("NVIDIA H200"), Some(989e12));
        assert_eq!(datasheet("NVIDIA H100 80GB HBM3"), Some(989e12));
        assert_eq!(datasheet("NVIDIA H100 PCIe"), Some(756e12));
        assert_eq!(datasheet("NVIDIA H20"), Some(148e12));
        assert_eq!(datasheet("NVIDIA L4"), Some(121e12));
        assert_eq!(datasheet("NVIDIA GeForce RTX 4090"), Some(165e12));
        assert_eq!(datasheet("something else"), None);
    }
}
