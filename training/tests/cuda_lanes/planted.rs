//! The harness finds races, wrong waits and indexes out of bounds: kernels with one planted error each.

use crate::harness::{At, Buffer, blocks, numbers, run};

/// Runs a planted kernel in this order.
fn outcome(kernel: &str, order: u32) -> Result<(), String> {
    let values = numbers(63, 1);
    // 63 elements are rounded up to 64 where they are allocated; only the kernel that reads behind them gets so few.
    let input =
        if kernel == "planted_read_behind" { Buffer::of(&values) } else { Buffer::of(&numbers(64, 1)) };
    let out = Buffer::empty::<f32>(64);
    run(kernel, blocks(1, 64, 1024), &[At(&out), At(&input)], order)
}

#[test]
fn planted_errors_are_found_in_every_order() {
    let cases = [
        ("planted_no_barrier", "race: ", "without a barrier between"),
        ("planted_warp_barrier", "race: ", "without a barrier between"),
        ("planted_shuffle", "race: ", "without a barrier between"),
        ("planted_two_writers", "race: writes byte", "wrote without a barrier between"),
        ("planted_no_second_barrier", "race: ", "without a barrier between"),
        ("planted_wait_after_barrier", "race: reads byte", "of shared memory"),
        ("planted_no_wait", "race: reads byte", "a copy of thread"),
        ("planted_read_behind", "out of bounds: reads 4 bytes at 252", "a buffer of 252 bytes"),
        ("planted_write_before", "out of bounds: writes 4 bytes at -4", "a buffer of 256 bytes"),
        ("planted_shared_behind", "out of bounds: reads 4 bytes at 1024", "a buffer of 1024 bytes"),
    ];
    for (kernel, error, detail) in cases {
        for order in [0, 0x10001, 0x10002, 0x10003] {
            let found = outcome(kernel, order).expect_err(kernel);
            assert!(found.contains(error) && found.contains(detail), "{kernel} in order {order}: {found}");
            assert!(found.contains("block (0, 0, 0), thread ("), "{found}");
        }
    }
}

#[test]
fn kernels_without_an_error_pass() {
    for kernel in ["planted_right", "planted_right_in_a_warp", "planted_right_copy"] {
        for order in [0, 0x10001, 0x10002, 0x10003] {
            outcome(kernel, order).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
