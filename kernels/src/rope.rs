//! Rotary position embedding (RoPE) in the half-split layout of Hugging Face's Llama.
//!
//! Angles are computed in f32, as transformers does, because models are trained with that rounding:
//! <https://github.com/huggingface/transformers/blob/v4.57.0/src/transformers/models/llama/modeling_llama.py>

/// Cosines and sines of the angles of every position, each (positions, D / 2).
#[derive(Clone, Debug)]
pub struct RopeTable {
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
    pub(crate) half: usize,
}

impl RopeTable {
    /// Computes the angles position / theta^(2i/D) for positions 0..`positions` and i in 0..D/2, D = `head_dim`.
    ///
    /// # Panics
    /// If `head_dim` is odd or 0.
    pub fn new(positions: usize, head_dim: usize, theta: f32) -> Self {
        Self::with_frequencies(positions, &Self::frequencies(head_dim, theta))
    }

    /// Returns the D / 2 frequencies 1 / theta^(2i/D), D = `head_dim`.
    ///
    /// # Panics
    /// As [`RopeTable::new`].
    pub fn frequencies(head_dim: usize, theta: f32) -> Vec<f32> {
        assert!(
            head_dim > 0 && head_dim.is_multiple_of(2),
            "RopeTable: head_dim is {head_dim}; it must be even and positive"
        );
        (0..head_dim / 2)
            .map(|i| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                // The power in f64, rounded to f32: the result of a correctly rounded f32 power.
                1.0 / f64::from(theta).powf(f64::from(exponent)) as f32
            })
            .collect()
    }

    /// Computes the angles position * frequency for positions 0..`positions` and the D / 2 frequencies.
    ///
    /// # Panics
    /// If there is no frequency.
    pub fn with_frequencies(positions: usize, frequencies: &[f32]) -> Self {
        let half = frequencies.len();
        assert!(half > 0, "RopeTable: there are no frequencies");
        let angles = (0..positions).flat_map(|position| {
            frequencies.iter().map(move |frequency| f64::from(position as f32 * frequency))
        });
        let (cos, sin) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        Self { cos, sin, half }
    }

    /// Returns the table with all cosines and sines multiplied by a factor, as YaRN does.
    #[must_use]
    pub fn scaled(mut self, factor: f32) -> Self {
        if factor != 1.0 {
            self.cos.iter_mut().chain(&mut self.sin).for_each(|value| *value *= factor);
        }
        self
    }

    /// Returns the cosines (positions, D / 2).
    pub fn cosines(&self) -> &[f32] {
        &self.cos
    }

    /// Returns the sines (positions, D / 2).
    pub fn sines(&self) -> &[f32] {
        &self.sin
    }

    /// Returns the number of positions in the table.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half
    }
}

/// Rotates x (T, heads, D) in place, D = `head_dim`: element i is paired with element i + D/2, and token t has position
/// `positions[t]`.
///
/// # Panics
/// If the lengths do not match these shapes, the table was made for another D, or a position is beyond the table.
pub fn rope(x: &mut [f32], positions: &[usize], heads: usize, head_dim: usize, table: &RopeTable) {
    let half = table.half;
    assert_eq!(head_dim, 2 * half, "rope: head_dim is not that of the table");
    assert!(heads > 0, "rope: heads is 0; give at least 1");
    assert_eq!(x.len(), positions.len() * heads * head_dim, "rope: x must be tokens x heads x head_dim");
    for (token, &position) in x.chunks_exact_mut(heads * head_dim).zip(positions) {
        assert!(
            position < table.positions(),
            "rope: position {position} is beyond the table's {}",
            table.positions()
        );
        let cos = &table.cos[position * half..][..half];
        let sin = &table.sin[position * half..][..half];
        for head in token.chunks_exact_mut(head_dim) {
            let (first, second) = head.split_at_mut(half);
            for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                let (a, b) = (*first, *second);
                *first = a * cos - b * sin;
                *second = b * cos + a * sin;
            }
        }
    }
}
