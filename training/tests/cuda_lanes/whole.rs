//! Every kernel is tested, and the harness finds the errors that it should find.

use crate::harness::{Argument, At, Buffer, Length, Number, blocks, kernels, run, sources};

/// Every kernel in the sources is in the harness, and a test names it.
#[test]
fn every_kernel_is_tested() {
    let tests = [
        include_str!("rows.rs"),
        include_str!("head.rs"),
        include_str!("optimizer.rs"),
        include_str!("attention.rs"),
        include_str!("product.rs"),
    ]
    .concat();
    let mut kernels = kernels();
    kernels.retain(|(name, _)| !name.starts_with("planted_"));
    for (name, _) in &kernels {
        let stem = name.trim_end_matches("_bf16").trim_end_matches("_f32").trim_end_matches("_64");
        assert!(tests.contains(&format!("\"{stem}")), "{name}: no test names it");
    }
    let mut in_sources = 0;
    for entry in std::fs::read_dir(sources()).expect("the kernels' folder") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            let text = std::fs::read_to_string(&path).expect("a source");
            in_sources += text.lines().filter(|line| line.starts_with("KERNEL(")).count();
        }
    }
    assert_eq!(in_sources, kernels.len(), "kernels.cu must include every file");
}

/// The harness finds the errors that it should find.
#[test]
fn the_harness_refuses_what_a_gpu_refuses() {
    let refused = |geometry, arguments: &[Argument<'_>]| {
        run("fill_f32", geometry, arguments, 0).expect_err("must be refused")
    };
    let buffer = Buffer::empty::<f32>(4);
    let arguments = [At(&buffer), Number(1.0), Length(4)];
    assert!(refused(blocks(1, 512, 0), &arguments).contains("at most 256 threads"));
    assert!(refused(blocks(1, 48, 0), &arguments).contains("whole warps"));
    assert!(refused(blocks(0, 32, 0), &arguments).contains("an empty grid"));
    assert!(refused(blocks(1, 32, 0), &arguments[..2]).contains("takes pfl, but was given pf"));
}
