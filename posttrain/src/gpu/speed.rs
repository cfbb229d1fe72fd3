//! How fast a card can be: what its maker says, and what a large product reaches.

use super::card::{Card, Matrix};
use anyhow::Result;
use kernels::{Element, Into};
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
    let mut numbers = card.allocate::<E>("a product to be measured", side * side)?;
    let mut out = card.allocate::<f32>("a product to be measured", side * side)?;
    let row: Vec<E> = (0..side).map(|i| E::from_f32((i % 13) as f32 / 13.0)).collect();
    for first in (0..side * side).step_by(side) {
        card.upload(numbers.write().range(first..first + side), &row)?;
    }
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let matrix = Matrix::new(numbers.read(), side, side);
        card.wait()?;
        let start = Instant::now();
        card.product(out.write(), matrix, matrix, Into::Replace)?;
        card.wait()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (side as f64).powi(3) / best)
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
