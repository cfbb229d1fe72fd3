//! LoRA adapters beside the weights that they change: the low-rank products of each token's adapter are added to those of
//! the weights, which all adapters share.
//!
//! The matrices of modules that are packed as one (queries, keys and values; gate and up) are one product, too: A of one
//! module under that of the other, B as blocks of one matrix. Both are f32, but bf16 beside weights in bf16, as training rounds
//! them there. They are never added to the weights: an addition to a bf16 or quantized weight would mostly be rounded away.
//!
//! The rows of a step are handed over in runs of one adapter. A row's sums have one order (see the `kernels` crate), so they
//! do not depend on what else runs.

use super::layer::Group;
use super::pack::Arrangement;
use super::stride::padded;
use checkpoint::Checkpoint;
use checkpoint::adapter::{AdapterMatrices, LowRank};
use checkpoint::weights::Rows;
use kernels::{Activations, Epilogue, PackedMatrix, WeightFormat, multiply};
use std::ops::Range;

/// What one adapter adds to the product of a packed matrix: B A x.
#[derive(Debug)]
struct Addition {
    a: PackedMatrix, // (R, K): R is the sum of the ranks of the modules
    b: PackedMatrix, // (N, R), rows as those of the packed matrix; the scale is in it
}

/// The additions to a layer, in the order of [`Group::ALL`]; `None` for what the adapter does not change.
type LayerAdditions = [Option<Addition>; Group::ALL.len()];

/// The adapters of a model.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    /// Of each adapter, of each layer.
    adapters: Vec<Vec<LayerAdditions>>,
}

/// Consecutive rows of a step, and their adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    rows: Range<usize>,
    adapter: usize,
}

/// The runs of a step, and buffers that are reused from product to product.
#[derive(Debug, Default)]
pub(super) struct AdapterStep {
    runs: Vec<Run>,
    activations: Activations,
    inner: Vec<f32>, // (rows of a run, R), rows padded
}

/// A packed matrix of the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) layer: usize,
    pub(super) group: Group,
}

/// What a packed matrix is multiplied with: rows of `columns` numbers, one every `stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) columns: usize,
}

impl AdapterStep {
    /// Begins a step whose chunks have so many rows and these adapters.
    pub(super) fn begin(&mut self, chunks: impl Iterator<Item = (usize, Option<usize>)>) {
        self.runs.clear();
        let mut row = 0;
        for (rows, adapter) in chunks {
            let first = row;
            row += rows;
            let Some(adapter) = adapter else { continue };
            match self.runs.last_mut().filter(|run| run.rows.end == first && run.adapter == adapter) {
                Some(run) => run.rows.end = row,
                None => self.runs.push(Run { rows: first..row, adapter }),
            }
        }
    }
}

impl Adapters {
    /// Packs an adapter and returns its number; `is_bf16` says of a packed matrix whether it is held in bf16.
    pub(super) fn add(
        &mut self,
        checkpoint: &Checkpoint,
        matrices: &AdapterMatrices,
        is_bf16: impl Fn(Place) -> bool,
    ) -> usize {
        let load = |layer, group| {
            let place = Place { layer, group };
            let format = if is_bf16(place) { WeightFormat::Bf16 } else { WeightFormat::F32 };
            Addition::load(checkpoint, matrices, place, format)
        };
        let layer = |index| Group::ALL.map(|group| load(index, group));
        self.adapters.push((0..checkpoint.config.layers).map(layer).collect());
        self.adapters.len() - 1
    }

    /// Returns whether any row of a step has an addition to a packed matrix.
    pub(super) fn change(&self, step: &AdapterStep, place: Place) -> bool {
        step.runs.iter().any(|run| self.addition(run, place).is_some())
    }

    /// Adds what the adapters add to the product (T, N) of a packed matrix, rows every `stride` numbers.
    pub(super) fn apply(
        &self,
        out: &mut [f32],
        stride: usize,
        input: Input<'_>,
        place: Place,
        step: &mut AdapterStep,
    ) {
        let AdapterStep { runs, activations, inner } = step;
        for run in runs.iter() {
            let Some(Addition { a, b }) = self.addition(run, place) else { continue };
            let Range { start, end } = run.rows;
            let x = &input.values[start * input.stride..end * input.stride];
            let rank = a.rows();
            inner.clear();
            inner.resize((end - start) * padded(rank), 0.0);
            activations.fill(a.format(), x, input.stride, input.columns);
            multiply(inner, padded(rank), activations, a, Epilogue::Store); // (rows, R)
            activations.fill(b.format(), inner, padded(rank), rank);
            multiply(&mut out[start * stride..end * stride], stride, activations, b, Epilogue::Add);
        }
    }

    fn addition(&self, run: &Run, place: Place) -> Option<&Addition> {
        self.adapters[run.adapter][place.layer][place.group as usize].as_ref()
    }
}

impl Addition {
    /// Packs what an adapter adds to a packed matrix; `None` if it changes none of its modules.
    fn load(
        checkpoint: &Checkpoint,
        matrices: &AdapterMatrices,
        Place { layer, group }: Place,
        format: WeightFormat,
    ) -> Option<Self> {
        let changes: Vec<Option<LowRank<'_>>> =
            group.names(layer).iter().map(|name| matrices.of_weight(name)).collect();
        let parts = group.rows(&checkpoint.weights, layer);
        let columns = parts[0].columns();
        // Where each module's rows of A, and columns of B, begin.
        let mut rank = 0;
        let modules: Vec<Option<(LowRank<'_>, Range<usize>)>> = changes
            .into_iter()
            .map(|change| {
                let change = change?;
                let first = rank;
                rank += change.a.len() / columns;
                Some((change, first..rank))
            })
            .collect();
        if rank == 0 {
            return None;
        }
        let a = PackedMatrix::pack(format, rank, columns, |row, out| {
            let module = modules.iter().flatten().find(|(_, range)| range.contains(&row));
            let (change, range) = module.expect("every row of A is one of a module");
            out.copy_from_slice(&change.a[(row - range.start) * columns..][..columns]);
        });
        Some(Self { a, b: pack_b(format, &modules, &parts, group.arrangement(), rank) })
    }
}

/// Packs B of several modules as blocks of one matrix (N, R), with the scale.
fn pack_b(
    format: WeightFormat,
    modules: &[Option<(LowRank<'_>, Range<usize>)>],
    parts: &[Rows<'_>],
    arrangement: Arrangement,
    rank: usize,
) -> PackedMatrix {
    PackedMatrix::pack(format, arrangement.rows(parts), rank, |row, out| {
        out.fill(0.0);
        let Some((part, row)) = arrangement.locate(parts, row) else { return };
        let Some((change, range)) = &modules[part] else { return };
        let own = &change.b[row * range.len()..][..range.len()];
        for (out, value) in out[range.clone()].iter_mut().zip(own) {
            *out = change.scale * value;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_with_one_adapter_are_one_run() {
        let mut step = AdapterStep::default();
        let chunks = [(1, None), (3, Some(0)), (1, Some(0)), (2, Some(1)), (1, None), (1, Some(1))];
        step.begin(chunks.into_iter());
        let run = |rows, adapter| Run { rows, adapter };
        assert_eq!(step.runs, [run(1..5, 0), run(5..7, 1), run(8..9, 1)]);
        step.begin([(4, None)].into_iter());
        assert!(step.runs.is_empty());
    }
}
