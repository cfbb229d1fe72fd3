//! The driver's calls over a stand-in for it (`training/cuda/harness/driver.cpp`), which runs the kernels lane by lane and
//! fails where it is asked to.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::driver_api::Driver;
use super::*;
use crate::backend::{Backend, TrainingState};
use crate::batch::{Batch, Sequence};
use crate::gpu::device::Gpu;
use crate::gpu::trainer::Trainer;
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::parameters::Parameters;
use crate::settings::Kept;
use checkpoint::ModelConfig;
use half::bf16;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, MutexGuard};

const SETTINGS: OptimizerSettings =
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };

/// The folder with `libcuda.so.1` and `libcublas.so.13`, compiled once.
static STAND_INS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    for (source, library) in [("driver.cpp", "libcuda.so.1"), ("blas.cpp", "libcublas.so.13")] {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/harness");
        let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned()));
        command.args(["-O2", "-std=c++17", "-fPIC", "-shared", "-w"]).arg(sources.join(source));
        let status = command.arg("-o").arg(folder.path().join(library)).status().unwrap();
        assert!(status.success(), "{command:?}");
    }
    folder
});

fn driver_file() -> PathBuf {
    STAND_INS.path().join("libcuda.so.1")
}

/// The stand-in is one for the process, so tests that let it fail take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a call fail, and returns how many calls there were before.
fn fail_at(call: i64, code: c_int) {
    // SAFETY: the function has this type in driver.cpp.
    unsafe {
        let library = libloading::Library::new(driver_file()).unwrap();
        let set = *library.get::<unsafe extern "C" fn(i64, c_int)>("standin_fail_at").unwrap();
        set(call, code);
        std::mem::forget(library);
    }
}

fn calls() -> i64 {
    // SAFETY: as above.
    unsafe {
        let library = libloading::Library::new(driver_file()).unwrap();
        let calls = *library.get::<unsafe extern "C" fn() -> i64>("standin_calls").unwrap();
        std::mem::forget(library);
        calls()
    }
}

/// Opens the stand-in as a GPU, with the libraries that are named.
fn open(libraries: &str) -> Result<Arc<Gpu>> {
    let driver = Driver::load_from(vec![driver_file()]).map_err(|reason| anyhow!(reason))?;
    Ok(Gpu::over(Cuda::open_with(Arc::new(driver), 0, Some(libraries))?))
}

fn config() -> ModelConfig {
    ModelConfig {
        layers: 1,
        hidden_size: 64,
        heads: 1,
        kv_heads: 1,
        intermediate_size: 32,
        vocab_size: 40,
        initializer_range: 0.1,
        ..ModelConfig::smollm2_135m()
    }
}

/// Trains two steps; returns the losses.
fn train(gpu: &Arc<Gpu>) -> Result<Vec<f32>> {
    let parameters = Parameters::random(&config(), 1, false);
    let optimizer = Optimizer::new(parameters.values.len());
    let state = TrainingState { parameters, optimizer };
    let mut trainer = Trainer::<bf16>::new(Arc::clone(gpu), state, 32, Kept::Layers, 32)?;
    let batch = Batch::new([Sequence { ids: (0..20).collect(), trained: vec![true; 20].into() }]);
    let mut losses = Vec::new();
    for _ in 0..2 {
        losses.extend(trainer.gradient(&batch, 0.1)?.iter().map(|token| token.log_probability));
        trainer.update(SETTINGS, 1e-2)?;
    }
    trainer.sync_to_host()?;
    Ok(losses)
}

fn libraries() -> String {
    STAND_INS.path().display().to_string()
}

#[test]
fn the_stand_in_trains_with_and_without_cublas() {
    let _turn = turn();
    fail_at(0, 0);
    let (with, without) = (open(&libraries()).unwrap(), open("none").unwrap());
    let products = |gpu: &Gpu| gpu.facts().unwrap().decisive["products"].clone();
    assert_eq!(products(&with), "cuBLAS 13.1.0");
    assert_eq!(products(&without), "the program's kernels");
    let [with, without] = [with, without].map(|gpu| train(&gpu).unwrap());
    assert!(with.iter().zip(&without).all(|(a, b)| (a - b).abs() < 1e-2), "{with:?}\n{without:?}");
    assert!(with[0] < -1.0 && with[19] < 0.0);
}

/// Whatever call fails, the run ends with the call's name and without a panic; only out of memory is called so.
#[test]
fn every_call_that_fails_is_named() {
    let _turn = turn();
    fail_at(0, 0);
    let outcome = || open("none").and_then(|gpu| train(&gpu));
    outcome().unwrap();
    let all = calls();
    assert!(all > 150, "{all}");
    // Every call until the first launches, then one of each few.
    for (code, first, step) in [(999, 70, 17), (700, 1, 23), (2, 1, 29)] {
        let mut ignored = 0;
        let numbers = (1..first).chain((first..=all).step_by(step));
        for number in numbers {
            fail_at(number, code);
            match outcome() {
                Ok(_) => ignored += 1,
                Err(error) => {
                    let text = format!("{error:#}");
                    let is_memory = text.contains("is out of memory");
                    assert!(is_memory || text.contains(&format!("({code})")), "call {number}: {text}");
                    assert!(is_memory || text.contains(" returned "), "call {number}: {text}");
                    assert!(code == 2 || !is_memory, "call {number}: {text}");
                }
            }
        }
        // What is freed at the end can fail without harm.
        assert!(ignored < 30, "{ignored} failures were ignored");
    }
    fail_at(0, 0);
}

/// The stand-in copies pinned memory as late as the driver may, so a piece that is filled or read too early is seen.
#[test]
fn copies_take_turns_in_pinned_memory() {
    let _turn = turn();
    fail_at(0, 0);
    let gpu = open("none").unwrap();
    for count in [1usize, 700, 1024, 1025, 5000, 40_000] {
        let lists = [7u64, 8, 9].map(|seed| (0..count as u64).map(|i| random::mix(seed, i) as u32).collect());
        let buffers = lists.each_ref().map(|list: &Vec<u32>| gpu.copy_of("a list", list).unwrap());
        for (list, buffer) in lists.iter().zip(&buffers) {
            let mut copied = vec![0; count];
            gpu.download(&mut copied, buffer.read()).unwrap();
            assert!(*list == copied, "{count}");
        }
    }
}

/// A product comes after what was sent before it, which the stand-in copies as late as the driver may.
#[test]
fn cublas_multiplies_what_was_sent_before() {
    let _turn = turn();
    fail_at(0, 0);
    let gpu = open(&libraries()).unwrap();
    let a = gpu.copy_of("a", &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let b = gpu.copy_of("b", &[1.0f32, 10.0, 100.0]).unwrap();
    let mut out = gpu.copy_of("the result", &[7.0f32; 2]).unwrap();
    let (left, right) = (Matrix::new(a.read(), 2, 3), Matrix::new(b.read(), 3, 1));
    gpu.product(out.write(), left, right, Accumulate::Replace).unwrap();
    let mut found = [0.0f32; 2];
    gpu.download(&mut found, out.read()).unwrap();
    assert_eq!(found, [321.0, 654.0]);
}

/// Runs `child` in a process of its own, and returns what it printed.
fn in_a_process(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "gpu::cuda::tests::child", "--nocapture"]).env("SMOL_CHILD", "1");
    command.env("SMOL_CUDA_DRIVER", driver_file()).env("SMOL_CUDA_LIBRARIES", libraries());
    command.env_remove("CUDA_LAUNCH_BLOCKING").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcome = text.lines().find_map(|line| line.split_once("outcome: "));
    outcome.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr))).1.to_owned()
}

/// Not a test by itself: opens the first GPU and trains on it.
#[test]
fn child() {
    if std::env::var_os("SMOL_CHILD").is_none() {
        return;
    }
    match Gpu::open(0).and_then(|gpu| train(&gpu).map(|_| gpu)) {
        Ok(gpu) => println!("outcome: {}", gpu.facts().unwrap().decisive),
        Err(error) => println!("outcome: {error:#}"),
    }
}

#[test]
fn what_is_missing_or_old_is_one_sentence_with_what_is_needed() {
    let empty = tempfile::tempdir().unwrap();
    let nowhere = empty.path().join("libcuda.so.1").display().to_string();
    let empty = empty.path().display().to_string();
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 8] = [
        (&[("SMOL_CUDA_DRIVER", &nowhere)], &["no NVIDIA driver (libcuda.so.1)", "`--device cpu`"]),
        (&[("STANDIN_VERSION", "11040")], &["supports CUDA 11.4", "driver 520 (CUDA 11.8) or newer"]),
        (&[("STANDIN_CAPABILITY", "7.5")], &["compute capability 7.5", "need 8.0", "`--device cpu`"]),
        (&[("STANDIN_DEVICES", "0")], &["finds no GPU", "CUDA_ERROR_NO_DEVICE"]),
        (
            &[("SMOL_CUDA_LIBRARIES", &empty)],
            &["has no libcublas.so.13", "pip install nvidia-cublas", "=none"],
        ),
        (
            &[("STANDIN_BLAS_FAIL", "cublasCreate")],
            &["cublasCreate_v2 returned CUBLAS_STATUS_EXECUTION_FAILED"],
        ),
        (&[("STANDIN_MEMORY", "67200000")], &["is out of memory", "--micro-batch-tokens"]),
        (&[("STANDIN_BLAS_FAIL", "cublasGemmEx")], &["cublasGemmEx returned", "product Arguments"]),
    ];
    for (variables, expected) in cases {
        let outcome = in_a_process(variables);
        for part in expected {
            assert!(outcome.contains(part), "{variables:?}: {outcome}");
        }
    }
}

/// A driver older than the compiler is given PTX of an instruction set that it knows.
#[test]
fn an_older_driver_is_given_portable_ptx() {
    let outcome = in_a_process(&[("STANDIN_VERSION", "12040"), ("SMOL_CUDA_LIBRARIES", "none")]);
    assert!(outcome.contains(r#""driver":"12.4""#) && outcome.contains("portable PTX"), "{outcome}");
    assert!(in_a_process(&[]).contains("machine code"));
    assert!(in_a_process(&[("SMOL_CUDA_IMAGE", "portable")]).contains("portable PTX"));
    assert!(in_a_process(&[("STANDIN_PINNED", "0")]).contains("machine code"));
}

/// Products and sums are rounded where the sources say, whoever compiles them: PTX has no operation without a rounding. And
/// the results of attention are stored 16 bytes at a time.
#[test]
fn nothing_is_left_for_a_driver_to_fuse() {
    let ptx = String::from_utf8_lossy(PORTABLE);
    assert!(ptx.contains("\n.version 7.8\n") && ptx.contains("fma.rn.f32") && ptx.contains("mul.rn.f32"));
    for operation in ["mul.f32", "add.f32", "sub.f32", "mul.ftz", "add.ftz"] {
        assert!(!ptx.contains(operation), "{operation} has no rounding");
    }
    for kernel in ["attention_forward_64", "attention_backward_query_64", "attention_backward_key_64"] {
        let body = ptx.split(&format!(".entry {kernel}(")).nth(1).unwrap().split(".entry ").next().unwrap();
        let wide = body.matches("st.global.v4").count();
        assert!(wide >= 8, "{kernel} has {wide} stores of 16 bytes");
    }
}

/// The first run says that a kernel failed, and how to find it; the second run names it.
#[test]
fn a_fault_names_its_kernel_on_a_second_run() {
    let fault = ("STANDIN_FAULT", "swiglu_backward_bf16");
    let first = in_a_process(&[fault]);
    assert!(
        first.contains("CUDA_ERROR_ILLEGAL_ADDRESS") && first.contains("`CUDA_LAUNCH_BLOCKING=1`"),
        "{first}"
    );
    assert!(!first.contains("out of memory"), "{first}");
    let second = in_a_process(&[fault, ("CUDA_LAUNCH_BLOCKING", "1")]);
    assert!(second.contains("swiglu_backward_bf16 with Geometry"), "{second}");
    assert!(!second.contains("CUDA_LAUNCH_BLOCKING"), "{second}");
}
