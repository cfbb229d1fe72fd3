//! Operations by row: embedding, RMSNorm, rotary position embedding, SwiGLU, casts.

use crate::harness::{
    At, Buffer, Count, Length, Null, Number, blocks, close, launch, numbers, report, rounded, suffix,
    tolerance, whole_numbers, widened,
};
use half::bf16;
use kernels::training::{
    Direction, embedding_backward, embedding_forward, rms_norm_backward, rms_norm_forward, rotate,
    swiglu_backward, swiglu_forward,
};
use kernels::{Element, RopeTable};

const TOKENS: [usize; 5] = [1, 17, 63, 65, 200];
const CHANNELS: [usize; 4] = [30, 192, 576, 960];
const EPSILON: f32 = 1e-5;

/// Returns the threads of a block that processes a row of C channels.
fn row_threads(channels: usize) -> usize {
    channels.div_ceil(4).next_multiple_of(32).clamp(32, 256)
}

fn embeds<E: Element>() {
    let kernel = format!("{}_{}", "embedding_forward", suffix::<E>());
    for (tokens, channels) in TOKENS.into_iter().zip([30, 192, 576, 960, 2048]) {
        let table: Vec<E> = rounded(&numbers(97 * channels, 1));
        let ids = whole_numbers(tokens, 97, 2);
        let x = Buffer::empty::<f32>(tokens * channels);
        let arguments = [At(&x), At(&Buffer::of(&table)), At(&Buffer::of(&ids)), Count(channels)];
        launch(&kernel, blocks(tokens, row_threads(channels), 0), &arguments);
        let mut expected = vec![0.0; tokens * channels];
        embedding_forward(&mut expected, &widened(&table), &ids, channels);
        assert_eq!(x.read::<f32>(), expected, "{kernel} {tokens} x {channels}");
    }
    report(&kernel, &[0.0]);
}

#[test]
fn embedding() {
    embeds::<f32>();
    embeds::<bf16>();
}

#[test]
fn embedding_gradient_is_the_cpus_to_the_bit() {
    for (tokens, channels) in TOKENS.into_iter().zip([960, 576, 30, 2048, 513]) {
        let (start, dx) = (numbers(97 * channels, 3), numbers(tokens * channels, 4));
        // Few ids, so that some are frequent.
        let ids: Vec<u32> = whole_numbers(tokens, 7, 5).iter().map(|id| id * 16).collect();
        let mut order: Vec<u32> = (0..tokens as u32).collect();
        order.sort_by_key(|token| ids[*token as usize]);
        let is_first =
            |index: &usize| *index == 0 || ids[order[*index] as usize] != ids[order[*index - 1] as usize];
        let mut segments: Vec<u32> = (0..tokens).filter(is_first).map(|index| index as u32).collect();
        let distinct = segments.len();
        segments.push(tokens as u32);

        let dtable = Buffer::of(&start);
        let (device_ids, order, segments) = (Buffer::of(&ids), Buffer::of(&order), Buffer::of(&segments));
        let arguments =
            [At(&dtable), At(&Buffer::of(&dx)), At(&device_ids), At(&order), At(&segments), Count(channels)];
        let mut geometry = blocks(distinct, 128, 0);
        geometry.grid[1] = channels.div_ceil(512);
        launch("embedding_backward", geometry, &arguments);
        let mut expected = start;
        embedding_backward(&mut expected, &dx, &ids, channels);
        assert_eq!(dtable.read::<f32>(), expected, "{tokens} x {channels}");
    }
    report("embedding_backward", &[0.0]);
}

/// Returns every third row from the second on; the only one where there is one.
fn some_rows(tokens: usize) -> Vec<u32> {
    if tokens == 1 { vec![0] } else { (1..tokens as u32).step_by(3).collect() }
}

fn pick(x: &[f32], rows: &[u32], channels: usize) -> Vec<f32> {
    rows.iter().flat_map(|row| x[*row as usize * channels..][..channels].iter().copied()).collect()
}

/// With and without addition, in place, and of some rows.
fn norms<E: Element>() {
    let kernel = format!("{}_{}", "norm_forward", suffix::<E>());
    let mut errors = Vec::new();
    for (tokens, channels) in TOKENS.into_iter().flat_map(|t| CHANNELS.map(|c| (t, c))).chain([(5, 2048)]) {
        let (x, w) = (numbers(tokens * channels, 6), numbers(channels, 7));
        let delta: Vec<E> = rounded(&numbers(tokens * channels, 8));
        let summed: Vec<f32> = x.iter().zip(&delta).map(|(x, delta)| x + delta.to_f32()).collect();
        let rows = some_rows(tokens);
        let (device_x, device_w, device_rows) = (Buffer::of(&x), Buffer::of(&w), Buffer::of(&rows));
        let device_delta = Buffer::of(&delta);
        let threads = row_threads(channels);
        let mut check = |y: &Buffer, input: &[f32]| {
            let mut expected = vec![E::default(); input.len()];
            rms_norm_forward(&mut expected, input, &w, EPSILON);
            let what = format!("{kernel} {tokens} x {channels}");
            errors.push(close(&what, &widened(&y.read::<E>()), &widened(&expected), tolerance::<E>()));
        };
        let tail = [Count(channels), Number(EPSILON)];

        let y = Buffer::empty::<E>(tokens * channels);
        let geometry = blocks(tokens, threads, 4 * channels + 128);
        let plain = [At(&y), Null, At(&device_x), Null, At(&device_w), Null];
        launch(&kernel, geometry, &[&plain[..], &tail].concat());
        check(&y, &x);

        let (y, sum) = (Buffer::empty::<E>(rows.len() * channels), Buffer::of(&x));
        let picked = [At(&y), At(&sum), At(&device_x), At(&device_delta), At(&device_w), At(&device_rows)];
        let geometry = blocks(rows.len(), threads, 4 * channels + 128);
        launch(&kernel, geometry, &[&picked[..], &tail].concat());
        check(&y, &pick(&summed, &rows, channels));
        let sum = sum.read::<f32>();
        for token in 0..tokens {
            let from = if rows.contains(&(token as u32)) { &summed } else { &x };
            let place = token * channels..(token + 1) * channels;
            assert_eq!(sum[place.clone()], from[place], "{kernel}: sum, row {token}");
        }

        let (y, sum) = (Buffer::empty::<E>(tokens * channels), Buffer::of(&x));
        let in_place = [At(&y), At(&sum), At(&sum), At(&device_delta), At(&device_w), Null];
        let geometry = blocks(tokens, threads, 4 * channels + 128);
        launch(&kernel, geometry, &[&in_place[..], &tail].concat());
        check(&y, &summed);
        assert_eq!(sum.read::<f32>(), summed, "{kernel}: sum in place");
    }
    report(&kernel, &errors);
}

#[test]
fn norm() {
    norms::<f32>();
    norms::<bf16>();
}

fn norm_gradients<E: Element>() {
    let kernel = format!("{}_{}", "norm_backward", suffix::<E>());
    let (mut errors, mut weight_errors) = (Vec::new(), Vec::new());
    for (tokens, channels) in TOKENS.into_iter().flat_map(|t| CHANNELS.map(|c| (t, c))).chain([(33, 2048)]) {
        for rows in [None, Some(some_rows(tokens))] {
            let (x, w, dx) =
                (numbers(tokens * channels, 9), numbers(channels, 10), numbers(tokens * channels, 11));
            let all: Vec<u32> = (0..tokens as u32).collect();
            let used = rows.as_ref().unwrap_or(&all);
            // One row, all of a short batch, and numbers between.
            let block_rows = [1, 3, 16][(tokens + channels) % 3];
            let (count, parts) = (used.len(), used.len().div_ceil(block_rows));
            let dy: Vec<E> = rounded(&numbers(count * channels, 12));
            let start = numbers(channels, 13);
            let (device_dx, copy) = (Buffer::of(&dx), Buffer::of(&rounded::<E>(&dx)));
            let partial = Buffer::empty::<f32>(parts * channels);
            let device_rows = Buffer::of(used);
            let arguments = [
                At(&device_dx),
                if E::BF16 { At(&copy) } else { Null },
                At(&partial),
                At(&Buffer::of(&dy)),
                At(&Buffer::of(&x)),
                At(&Buffer::of(&w)),
                if rows.is_some() { At(&device_rows) } else { Null },
                Count(count),
                Count(block_rows),
                Count(channels),
                Number(EPSILON),
            ];
            launch(&kernel, blocks(parts, row_threads(channels), 4 * channels + 256), &arguments);
            let dw = Buffer::of(&start);
            let mut geometry = blocks(channels.div_ceil(32), 32, 4224);
            geometry.block[1] = 32;
            let arguments = [At(&dw), At(&partial), Count(parts), Count(channels)];
            launch("norm_backward_weight", geometry, &arguments);

            let (mut dx_used, mut expected_dw) = (pick(&dx, used, channels), start);
            let x_used = pick(&x, used, channels);
            rms_norm_backward(&mut dx_used, Some(&mut expected_dw), &widened(&dy), &x_used, &w, EPSILON);
            let mut expected = dx;
            for (row, value) in used.iter().zip(dx_used.chunks_exact(channels)) {
                expected[*row as usize * channels..][..channels].copy_from_slice(value);
            }
            let what = format!("{kernel} {tokens} x {channels}");
            // dy is rounded before either side reads it, and both sum in f32.
            errors.push(close(&what, &device_dx.read::<f32>(), &expected, 1e-5));
            weight_errors.push(close(&what, &dw.read::<f32>(), &expected_dw, 1e-5));
            if E::BF16 {
                assert_eq!(copy.read::<E>().len(), expected.len());
                let copied = widened(&copy.read::<E>());
                assert_eq!(copied, widened(&rounded::<E>(&device_dx.read::<f32>())), "{what}: the copy");
            }
        }
    }
    report(&kernel, &errors);
    report("norm_backward_weight", &weight_errors);
}

#[test]
fn norm_gradient() {
    norm_gradients::<f32>();
    norm_gradients::<bf16>();
}

fn rotates<E: Element>() {
    let kernel = format!("{}_{}", "rotate", suffix::<E>());
    let mut errors = Vec::new();
    let heads = [(9, 3, 64), (15, 5, 64), (32, 32, 64), (3, 1, 64), (4, 2, 6), (2, 1, 48)];
    for (tokens, (heads, kv_heads, head_dim)) in TOKENS.into_iter().chain([17]).zip(heads) {
        let (row, rotated) = ((heads + 2 * kv_heads) * head_dim, heads + kv_heads);
        let x: Vec<E> = rounded(&numbers(tokens * row, 14));
        let positions = whole_numbers(tokens, 300, 15);
        let table = RopeTable::new(300, head_dim, 10_000.0);
        let (cos, sin) = (Buffer::of(table.cosines()), Buffer::of(table.sines()));
        let device_positions = Buffer::of(&positions);
        for (direction, sign) in [(Direction::Forward, 1.0), (Direction::Backward, -1.0)] {
            let device_x = Buffer::of(&x);
            let threads = (rotated * head_dim).div_ceil(16).next_multiple_of(32).clamp(32, 256);
            let shape = [Count(row), Count(rotated), Count(head_dim), Number(sign)];
            let buffers = [At(&device_x), At(&device_positions), At(&cos), At(&sin)];
            launch(&kernel, blocks(tokens, threads, 0), &[buffers, shape].concat());
            let mut expected = x.clone();
            rotate(&mut expected, row, rotated, &positions, &table, direction);
            let what = format!("{kernel} {tokens} x {heads}/{kv_heads} x {head_dim}");
            errors.push(close(&what, &widened(&device_x.read::<E>()), &widened(&expected), tolerance::<E>()));
        }
    }
    report(&kernel, &errors);
}

#[test]
fn rotation() {
    rotates::<f32>();
    rotates::<bf16>();
}

fn gates<E: Element>() {
    let (forward, backward) = (
        format!("{}_{}", "swiglu_forward", suffix::<E>()),
        format!("{}_{}", "swiglu_backward", suffix::<E>()),
    );
    let (mut errors, mut gradient_errors) = (Vec::new(), Vec::new());
    // One case has gates so large that e^x overflows.
    let shapes = TOKENS.into_iter().zip([97, 1536, 2560, 30, 768]).map(|shape| (shape, 4.0));
    for ((tokens, features), scale) in shapes.chain([((2, 64), 200.0)]) {
        let wide: Vec<f32> = numbers(tokens * 2 * features, 16).iter().map(|x| x * scale).collect();
        let gate_up: Vec<E> = rounded(&wide);
        let dout: Vec<E> = rounded(&numbers(tokens * features, 17));
        let geometry = blocks((tokens * features).div_ceil(2048).max(1), 256, 0);
        let shape = [Count(tokens), Count(features)];
        let (out, device_gate_up, device_dout) =
            (Buffer::empty::<E>(tokens * features), Buffer::of(&gate_up), Buffer::of(&dout));
        launch(&forward, geometry, &[&[At(&out), At(&device_gate_up)], &shape[..]].concat());
        launch(&backward, geometry, &[&[At(&device_gate_up), At(&device_dout)], &shape[..]].concat());

        let mut expected = vec![E::default(); tokens * features];
        swiglu_forward(&mut expected, &gate_up, features);
        let mut gradient = gate_up;
        swiglu_backward(&mut gradient, &dout, features);
        let what = format!("{forward} {tokens} x {features}");
        errors.push(close(&what, &widened(&out.read::<E>()), &widened(&expected), tolerance::<E>()));
        assert!(
            device_dout.read::<u8>() == out.read::<u8>(),
            "{backward}: out differs from the forward pass"
        );
        let actual = widened(&device_gate_up.read::<E>());
        gradient_errors.push(close(&backward, &actual, &widened(&gradient), tolerance::<E>()));
    }
    report(&forward, &errors);
    report(&backward, &gradient_errors);
}

#[test]
fn gate() {
    gates::<f32>();
    gates::<bf16>();
}

#[test]
fn casts_and_fills() {
    for length in [1usize, 3, 4, 97, 4099] {
        let geometry = blocks(length.div_ceil(2048).clamp(1, 65_536), 256, 0);
        let mut values = numbers(length, 18);
        values[0] = f32::INFINITY;
        let (wide, narrow, back) =
            (Buffer::of(&values), Buffer::empty::<bf16>(length), Buffer::empty::<f32>(length));
        launch("cast_f32_bf16", geometry, &[At(&narrow), At(&wide), Length(length)]);
        launch("cast_bf16_f32", geometry, &[At(&back), At(&narrow), Length(length)]);
        let expected: Vec<bf16> = rounded(&values);
        assert_eq!(narrow.read::<bf16>(), expected);
        assert_eq!(back.read::<f32>(), widened(&expected));
        launch("fill_f32", geometry, &[At(&back), Number(0.25), Length(length)]);
        assert_eq!(back.read::<f32>(), vec![0.25; length]);
    }
}
