//! Dot products, many at once: the one place where matmul and attention sum over inputs.
//!
//! A tile of rows by columns shares its loads; each of its sums still runs in the order of the invariant,
//! so the shape of the tile is a matter of speed only.

use crate::simd::{LANES, Simd};

/// The dot product of every column with every row: `result[column][row]`. All slices have one length.
#[inline(always)]
pub(crate) fn dots<S: Simd, const ROWS: usize, const COLUMNS: usize>(
    simd: S,
    rows: [&[f32]; ROWS],
    columns: [&[f32]; COLUMNS],
) -> [[f32; ROWS]; COLUMNS] {
    let length = columns[0].len();
    let steps = length / LANES;
    let mut row_vectors = [simd.splat(0.0); ROWS];
    let mut sums = [[simd.splat(0.0); ROWS]; COLUMNS];
    let row_chunks = rows.map(|row| &row.as_chunks::<LANES>().0[..steps]);
    let column_chunks = columns.map(|column| &column.as_chunks::<LANES>().0[..steps]);
    for step in 0..steps {
        for row in 0..ROWS {
            // SAFETY: `step` is below `steps`, to which every one of these slices was cut.
            row_vectors[row] = simd.load(unsafe { row_chunks[row].get_unchecked(step) });
        }
        for column in 0..COLUMNS {
            // SAFETY: as above.
            let column_vector = simd.load(unsafe { column_chunks[column].get_unchecked(step) });
            for row in 0..ROWS {
                sums[column][row] = simd.multiply_add(row_vectors[row], column_vector, sums[column][row]);
            }
        }
    }
    let done = steps * LANES;
    if done < length {
        for row in 0..ROWS {
            row_vectors[row] = simd.load_tail(&rows[row][done..]);
        }
        for column in 0..COLUMNS {
            let column_vector = simd.load_tail(&columns[column][done..]);
            for row in 0..ROWS {
                sums[column][row] = simd.multiply_add(row_vectors[row], column_vector, sums[column][row]);
            }
        }
    }
    let mut totals = [[0.0; ROWS]; COLUMNS];
    for column in 0..COLUMNS {
        reduce(simd, &mut totals[column], &sums[column]);
    }
    totals
}

/// The lane sum of each vector.
#[inline(always)]
fn reduce<S: Simd, const ROWS: usize>(simd: S, totals: &mut [f32; ROWS], sums: &[S::Vector; ROWS]) {
    let mut row = 0;
    while row + 4 <= ROWS {
        let four = simd.sum_four([sums[row], sums[row + 1], sums[row + 2], sums[row + 3]]);
        totals[row..row + 4].copy_from_slice(&four);
        row += 4;
    }
    while row < ROWS {
        totals[row] = simd.sum(sums[row]);
        row += 1;
    }
}
