//! Attention: the plain kernels for any head dimension, and those for tensor cores.

use crate::attention_results::{Results, narrowed};
use crate::harness::{
    Argument, At, Buffer, Count, Geometry, Null, close, launch, numbers, report, rounded, suffix, tolerance,
    widened,
};
use half::bf16;
use kernels::{AttentionShape, Element, RopeTable};

const TILE_ROWS: usize = 128;

/// Returns tiles of TILE_ROWS tokens of each sequence (first, start, end, 0), the last one first: kernels must not rely on
/// their order.
fn tiles(starts: &[usize]) -> Vec<u32> {
    let sequences = starts.windows(2);
    let tiles = sequences.flat_map(|ends| {
        (ends[0]..ends[1])
            .step_by(TILE_ROWS)
            .map(move |first| [first as u32, ends[0] as u32, ends[1] as u32, 0])
    });
    let mut tiles: Vec<[u32; 4]> = tiles.collect();
    tiles.reverse();
    tiles.concat()
}

fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim }
}

/// A layer's operands, and its results in f64.
struct Case<E> {
    shape: AttentionShape,
    tokens: usize,
    positions: Vec<u32>,
    tiles: Vec<u32>,
    qkv: Vec<E>,
    dout: Vec<E>,
    expected: Results,
    table: RopeTable,
}

impl<E: Element> Case<E> {
    fn new(shape: AttentionShape, lengths: &[usize]) -> Self {
        let mut starts = vec![0];
        for length in lengths {
            starts.push(starts[starts.len() - 1] + length);
        }
        let tokens = starts[lengths.len()];
        let AttentionShape { heads, kv_heads, head_dim } = shape;
        let row = (heads + 2 * kv_heads) * head_dim;
        // Scores of a few units, for which the softmax is neither uniform nor one-hot.
        let values: Vec<f32> = numbers(tokens * row, 40).iter().map(|x| x * 2.5).collect();
        let (qkv, dout): (Vec<E>, Vec<E>) =
            (rounded(&values), rounded(&numbers(tokens * heads * head_dim, 41)));
        let expected = Results::new(shape, &starts, &widened(&qkv), &widened(&dout));
        let positions: Vec<u32> = lengths.iter().flat_map(|length| 0..*length as u32).collect();
        let longest = lengths.iter().max().copied().unwrap_or(1);
        let table = RopeTable::new(longest, head_dim.next_multiple_of(2), 1e4);
        Self { shape, tokens, positions, tiles: tiles(&starts), qkv, dout, expected, table }
    }

    /// Returns blocks for every tile of `heads` heads.
    fn geometry(&self, heads: usize, shared: usize) -> Geometry {
        Geometry { grid: [self.tiles.len() / 4, heads], block: [128, 1], shared }
    }

    /// Compares the forward and backward passes of these kernels. Returns the largest errors of both.
    fn run(&self, kernels: &Kernels) -> (f32, f32) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let (out_len, sums_len) = (self.tokens * heads * head_dim, self.tokens * heads);
        let (out, log_sums) = (Buffer::empty::<E>(out_len), Buffer::empty::<f32>(sums_len));
        let (qkv, tiles) = (Buffer::of(&self.qkv), Buffer::of(&self.tiles));
        let mut sizes = vec![Count(self.tokens), Count(heads), Count(kv_heads)];
        if !kernels.tensor_core {
            sizes.push(Count(head_dim));
        }
        let operands = [At(&out), At(&log_sums), At(&qkv), At(&tiles)];
        let geometry = self.geometry(heads, kernels.shared(0, head_dim));
        launch(&kernels.forward, geometry, &[&operands[..], &sizes].concat());
        let what = format!("{:?}, {} tokens", self.shape, self.tokens);
        let limit = tolerance::<E>();
        let expected = &self.expected;
        let error = close(
            &format!("{} {what}", kernels.forward),
            &widened(&out.read::<E>()),
            &narrowed(&expected.out),
            limit,
        );
        let actual_sums = log_sums.read::<f32>();
        close(&format!("log sums {what}"), &actual_sums, &narrowed(&expected.log_sums), 1e-5);

        let (delta, dout) = (Buffer::empty::<f32>(sums_len), Buffer::of(&self.dout));
        let operands = [At(&delta), At(&dout), At(&out), Count(self.tokens), Count(heads), Count(head_dim)];
        let groups = Geometry { grid: [sums_len.div_ceil(32), 1], block: [256, 1], shared: 0 };
        launch(&format!("{}_{}", "attention_delta", suffix::<E>()), groups, &operands);
        let saved = Saved { dout, log_sums, delta, qkv, tiles };
        let what = format!("{} {what}", kernels.query);
        if !kernels.tensor_core {
            let actual = self.plain_gradient(kernels, &saved, &sizes);
            return (error, close(&what, &actual, &narrowed(&expected.dqkv), limit));
        }
        let rotated = expected.rotated_back(self.shape, &self.positions, &self.table);
        let [whole, split] = [false, true].map(|splits| {
            let actual = self.tensor_core_gradient(kernels, &saved, &sizes, splits);
            close(
                &format!("{what}, a block for each query head: {splits}"),
                &actual,
                &narrowed(&rotated),
                limit,
            )
        });
        (error, whole.max(split))
    }

    fn plain_gradient(&self, kernels: &Kernels, saved: &Saved, sizes: &[Argument<'_>]) -> Vec<f32> {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let Saved { dout, log_sums, delta, qkv, tiles } = saved;
        let dqkv = Buffer::empty::<E>(self.qkv.len());
        let operands = [At(&dqkv), At(dout), At(log_sums), At(delta), At(qkv), At(tiles)];
        let arguments = [&operands[..], sizes].concat();
        launch(&kernels.query, self.geometry(heads, kernels.shared(1, head_dim)), &arguments);
        launch(&kernels.key, self.geometry(kv_heads, kernels.shared(2, head_dim)), &arguments);
        widened(&dqkv.read::<E>())
    }

    /// The key pass has a block for each key head, or (`splits`) one for each query head and then their sums.
    fn tensor_core_gradient(
        &self,
        kernels: &Kernels,
        saved: &Saved,
        sizes: &[Argument<'_>],
        splits: bool,
    ) -> Vec<f32> {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let Saved { dout, log_sums, delta, qkv, tiles } = saved;
        let dqkv = Buffer::empty::<E>(self.qkv.len());
        let partial = Buffer::empty::<f32>(2 * self.tokens * heads * head_dim);
        let (cos, sin) = (Buffer::of(self.table.cosines()), Buffer::of(self.table.sines()));
        let operands = [At(dout), At(log_sums), At(delta), At(qkv), At(tiles), At(&cos), At(&sin)];
        let arguments = [&[At(&dqkv)], &operands[..], sizes].concat();
        launch(&kernels.query, self.geometry(heads, kernels.shared(1, head_dim)), &arguments);
        let (blocks, sums) = if splits { (heads, At(&partial)) } else { (kv_heads, Null) };
        let arguments = [&[At(&dqkv), sums], &operands[..], sizes].concat();
        launch(&kernels.key, self.geometry(blocks, kernels.shared(2, head_dim)), &arguments);
        if splits {
            let positions = Buffer::of(&self.positions);
            let operands = [At(&dqkv), At(&partial), At(&positions), At(&cos), At(&sin)];
            let groups = (self.tokens * kv_heads).div_ceil(16);
            launch("attention_key_sums_64", blocks_of(groups), &[&operands[..], sizes].concat());
        }
        widened(&dqkv.read::<E>())
    }
}

fn blocks_of(groups: usize) -> Geometry {
    Geometry { grid: [groups, 1], block: [256, 1], shared: 0 }
}

/// What the backward pass reads.
struct Saved {
    dout: Buffer,
    log_sums: Buffer,
    delta: Buffer,
    qkv: Buffer,
    tiles: Buffer,
}

struct Kernels {
    forward: String,
    query: String,
    key: String,
    tensor_core: bool,
}

impl Kernels {
    fn new(suffix: &str) -> Self {
        Self {
            forward: format!("{}_{suffix}", "attention_forward"),
            query: format!("{}_{suffix}", "attention_backward_query"),
            key: format!("{}_{suffix}", "attention_backward_key"),
            tensor_core: suffix == "64",
        }
    }

    /// Returns the bytes of shared memory of the forward, query or key pass (0, 1 or 2).
    fn shared(&self, pass: usize, head_dim: usize) -> usize {
        let plain = [16 * (head_dim + 32), 16 * (2 * head_dim + 32), 16 * (2 * head_dim + 64)];
        if self.tensor_core { [49_152, 49_152, 49_664][pass] } else { plain[pass] }
    }
}

fn check<E: Element>(kernels: &Kernels, cases: &[(AttentionShape, &[usize])]) {
    let errors: Vec<(f32, f32)> =
        cases.iter().map(|(shape, lengths)| Case::<E>::new(*shape, lengths).run(kernels)).collect();
    let (forward, backward): (Vec<f32>, Vec<f32>) = errors.into_iter().unzip();
    report(&kernels.forward, &forward);
    report(&format!("{}, _key", kernels.query), &backward);
}

#[test]
fn attention_of_any_head() {
    let cases: [(AttentionShape, &[usize]); 8] = [
        (shape(9, 3, 64), &[1]),
        (shape(4, 2, 6), &[17, 1, 5]),
        (shape(3, 1, 64), &[63, 2]),
        (shape(2, 2, 30), &[65]),
        (shape(2, 1, 8), &[200, 3]),
        (shape(2, 1, 128), &[33]),
        (shape(1, 1, 96), &[34]),
        (shape(1, 1, 1), &[7]),
    ];
    check::<f32>(&Kernels::new("f32"), &cases);
    check::<bf16>(&Kernels::new("bf16"), &cases);
}

#[test]
fn attention_on_tensor_cores() {
    let cases: [(AttentionShape, &[usize]); 10] = [
        (shape(3, 1, 64), &[1]),
        (shape(9, 3, 64), &[17]),
        (shape(3, 1, 64), &[63]),
        (shape(2, 2, 64), &[64]),
        (shape(15, 5, 64), &[65]),
        (shape(9, 3, 64), &[200]),
        (shape(3, 1, 64), &[1, 64, 130, 7, 128]),
        (shape(32, 32, 64), &[20, 13]),
        (shape(2, 1, 64), &[31, 33, 97, 300]),
        (shape(1, 1, 64), &[256]),
    ];
    check::<bf16>(&Kernels::new("64"), &cases);
}
