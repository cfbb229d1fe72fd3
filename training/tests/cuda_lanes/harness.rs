//! The harness from Rust: compiles it once, allocates its memory, and repeats each launch to compare the results.

use half::bf16;
use kernels::Element;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

type Launch = unsafe extern "C" fn(
    *const c_char,
    *const c_uint,
    *const c_uint,
    usize,
    *const *const c_void,
    *const c_char,
    c_uint,
    *mut c_char,
    usize,
) -> c_int;
type Kernels = unsafe extern "C" fn() -> *const c_char;
type Allocate = unsafe extern "C" fn(usize) -> *mut c_void;
type Release = unsafe extern "C" fn(*mut c_void, usize) -> c_int;

/// The functions of `cuda/harness/lanes.cpp`.
pub(crate) struct Library {
    launch: Launch,
    kernels: Kernels,
    allocate: Allocate,
    release: Release,
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::open(&compile()));

/// Returns the folder of the kernels.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda")
}

/// Compiles the harness with the kernels, which takes a few seconds. The compiler reports every access of the kernels to
/// `watch.cpp`, which finds races (`harness/watch.hpp`).
fn compile() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str| temporary.join(format!("cuda_lanes_{}{name}", std::process::id()));
    let [kernels, watch, lanes, library] = ["_kernels.o", "_watch.o", "_lanes.o", ".so"].map(file);
    let planted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda_lanes/planted.cu");
    let planted = format!("-DLANES_PLANTED=\"{}\"", planted.display());
    build(&["-fsanitize=thread", &planted, "-c", "kernels.cpp"], &kernels);
    build(&["-c", "watch.cpp"], &watch);
    build(&["-c", "lanes.cpp"], &lanes);
    let objects = [&kernels, &watch, &lanes];
    let names = objects.map(|object| object.to_str().expect("cargo's folders are UTF-8"));
    build(&[&names[..], &["-shared"]].concat(), &library);
    for object in objects {
        std::fs::remove_file(object).expect("it was just written");
    }
    library
}

/// Runs the C++ compiler in the harness's folder.
fn build(arguments: &[&str], out: &Path) {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let flags =
        "-std=c++17 -O2 -fPIC -fno-strict-aliasing -Wall -Wextra -Werror -Wno-unknown-pragmas -DLANES_WATCH";
    let mut command = Command::new(&compiler);
    command.current_dir(sources().join("harness")).args(flags.split(' ')).args(arguments).arg("-o").arg(out);
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {compiler}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} on training/cuda/harness:\n{text}");
}

impl Library {
    fn open(file: &Path) -> Self {
        let name =
            CString::new(file.to_str().expect("cargo's folders are UTF-8")).expect("a path has no NUL");
        let now = 2; // RTLD_NOW
        // SAFETY: the library's initializers only make the list of its kernels.
        let library = unsafe { dlopen(name.as_ptr(), now) };
        // SAFETY: dlopen failed, so dlerror has a text.
        assert!(!library.is_null(), "dlopen: {:?}", unsafe { CStr::from_ptr(dlerror()) });
        std::fs::remove_file(file).expect("the harness was just written");
        let find = |name: &CStr| {
            // SAFETY: the library stays open.
            let function = unsafe { dlsym(library, name.as_ptr()) };
            assert!(!function.is_null(), "the harness has no {name:?}");
            function
        };
        // SAFETY: these are their types in lanes.cpp.
        unsafe {
            Self {
                launch: std::mem::transmute::<*mut c_void, Launch>(find(c"lanes_launch")),
                kernels: std::mem::transmute::<*mut c_void, Kernels>(find(c"lanes_kernels")),
                allocate: std::mem::transmute::<*mut c_void, Allocate>(find(c"lanes_allocate")),
                release: std::mem::transmute::<*mut c_void, Release>(find(c"lanes_release")),
            }
        }
    }
}

/// Returns the name and signature of every kernel.
pub(crate) fn kernels() -> Vec<(String, String)> {
    // SAFETY: the string lives as long as the library.
    let lines = unsafe { CStr::from_ptr((LIBRARY.kernels)()) };
    let line =
        |line: &str| line.split_once(' ').map(|(name, signature)| (name.to_owned(), signature.to_owned()));
    lines.to_str().expect("names are ASCII").lines().filter_map(line).collect()
}

/// Memory with a guard at its end.
pub(crate) struct Buffer {
    memory: *mut c_void,
    bytes: usize,
}

impl Buffer {
    /// Returns `count` elements of type T with every bit set: NaN.
    pub(crate) fn empty<T>(count: usize) -> Self {
        let bytes = count * size_of::<T>();
        // SAFETY: any size is allowed.
        let memory = unsafe { (LIBRARY.allocate)(bytes) };
        assert!(!memory.is_null(), "no memory for {bytes} bytes");
        Self { memory, bytes }
    }

    /// Returns a copy of these values.
    pub(crate) fn of<T: Copy>(values: &[T]) -> Self {
        let buffer = Self::empty::<T>(values.len());
        // SAFETY: the memory has room for these plain values.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), buffer.memory.cast(), values.len()) };
        buffer
    }

    /// Returns its present values.
    pub(crate) fn read<T: Copy>(&self) -> Vec<T> {
        // SAFETY: the memory is aligned to 16 bytes, and every bit pattern is a value of these types.
        unsafe { std::slice::from_raw_parts(self.memory.cast::<T>(), self.bytes / size_of::<T>()) }.to_vec()
    }

    fn write(&self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.bytes);
        // SAFETY: the lengths are equal, and no launch is running.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.cast(), bytes.len()) };
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this many bytes.
        let damaged = unsafe { (LIBRARY.release)(self.memory, self.bytes) };
        assert!(damaged == 0 || std::thread::panicking(), "a kernel wrote outside its buffer");
    }
}

/// A kernel's argument.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    /// A buffer's address.
    Buffer(&'a Buffer),
    /// No buffer.
    Null,
    /// u32
    Count(usize),
    /// u64
    Length(usize),
    /// f32
    Number(f32),
}
pub(crate) use Argument::{Buffer as At, Count, Length, Null, Number};

/// Blocks, threads of a block, and bytes of shared memory of a block.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) grid: [usize; 2],
    pub(crate) block: [usize; 2],
    pub(crate) shared: usize,
}

/// Returns `grid` blocks of `block` threads.
pub(crate) fn blocks(grid: usize, block: usize, shared: usize) -> Geometry {
    Geometry { grid: [grid, 1], block: [block, 1], shared }
}

/// Runs a kernel in several orders with the same operands. The results must have the same bits; they stay in the buffers.
pub(crate) fn launch(kernel: &str, geometry: Geometry, arguments: &[Argument<'_>]) {
    let buffers: Vec<&Buffer> = arguments
        .iter()
        .filter_map(|argument| if let At(buffer) = argument { Some(*buffer) } else { None })
        .collect();
    let contents = || -> Vec<Vec<u8>> { buffers.iter().map(|buffer| buffer.read()).collect() };
    let before = contents();
    run(kernel, geometry, arguments, 0).unwrap_or_else(|error| panic!("{error}"));
    let first = contents();
    for order in [1, 0x5eed] {
        buffers.iter().zip(&before).for_each(|(buffer, bytes)| buffer.write(bytes));
        run(kernel, geometry, arguments, order).unwrap_or_else(|error| panic!("{error}"));
        for (index, (one, other)) in first.iter().zip(contents()).enumerate() {
            assert!(*one == other, "{kernel}: buffer {index} differs when threads run in order {order}");
        }
    }
}

/// Runs a kernel once. Returns the harness's error, if there is one.
pub(crate) fn run(
    kernel: &str,
    geometry: Geometry,
    arguments: &[Argument<'_>],
    order: u32,
) -> Result<(), String> {
    let signature: String = arguments
        .iter()
        .map(|argument| match argument {
            At(_) | Null => 'p',
            Count(_) => 'u',
            Length(_) => 'l',
            Number(_) => 'f',
        })
        .collect();
    // Eight bytes for each argument, of which the kernel reads as many as its type has.
    let values: Vec<u64> = arguments
        .iter()
        .map(|argument| match argument {
            At(buffer) => buffer.memory as u64,
            Null => 0,
            Count(value) | Length(value) => *value as u64,
            Number(value) => u64::from(value.to_bits()),
        })
        .collect();
    let pointers: Vec<*const c_void> = values.iter().map(|value| std::ptr::from_ref(value).cast()).collect();
    let name = CString::new(kernel).expect("a name has no NUL");
    let signature = CString::new(signature).expect("letters");
    let size = |sizes: [usize; 2]| [sizes[0] as c_uint, sizes[1] as c_uint, 1];
    let (grid, block) = (size(geometry.grid), size(geometry.block));
    let mut message = [0 as c_char; 512];
    // SAFETY: there is a pointer for each letter of the signature, which the harness compares with the kernel's; accesses
    // beyond a buffer hit a guard page.
    let failed = unsafe {
        (LIBRARY.launch)(
            name.as_ptr(),
            grid.as_ptr(),
            block.as_ptr(),
            geometry.shared,
            pointers.as_ptr(),
            signature.as_ptr(),
            order,
            message.as_mut_ptr(),
            message.len(),
        )
    };
    // SAFETY: the harness ends the message with NUL.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) };
    if failed == 0 { Ok(()) } else { Err(message.to_string_lossy().into_owned()) }
}

/// Returns the suffix of the kernels for this type.
pub(crate) fn suffix<E: Element>() -> &'static str {
    if E::BF16 { "bf16" } else { "f32" }
}

/// Returns the accepted difference of a result of this type from the CPU's, relative to the largest value.
pub(crate) fn tolerance<E: Element>() -> f32 {
    if E::BF16 { 1e-2 } else { 1e-5 }
}

/// Returns numbers in -1..1, the same in every run.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Returns integers below `limit`, the same in every run.
pub(crate) fn whole_numbers(count: usize, limit: usize, seed: u64) -> Vec<u32> {
    numbers(count, seed)
        .iter()
        .map(|number| ((number + 1.0) / 2.0 * limit as f32) as u32 % limit as u32)
        .collect()
}

/// Returns values rounded to this type.
pub(crate) fn rounded<E: Element>(values: &[f32]) -> Vec<E> {
    values.iter().map(|value| E::from_f32(*value)).collect()
}

/// Returns values as f32.
pub(crate) fn widened<E: Element>(values: &[E]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

/// Returns the largest difference relative to the largest value, or NaN where there is one. Panics above `limit`.
pub(crate) fn close(what: &str, actual: &[f32], expected: &[f32], limit: f32) -> f32 {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs())).max(1e-30);
    let worse = |worst: f32, error: f32| if error > worst || error.is_nan() { error } else { worst };
    let errors = actual.iter().zip(expected).map(|(actual, expected)| (actual - expected).abs());
    // A NaN stays, because no error is larger.
    let error = errors.fold(0.0, worse) / largest;
    assert!(error <= limit, "{what}: differs by {error:e} of the largest value, {limit:e} is allowed");
    error
}

/// Prints the largest error of a kernel.
pub(crate) fn report(kernel: &str, errors: &[f32]) {
    let largest = errors.iter().fold(0.0f32, |a, b| a.max(*b));
    println!("{kernel:32} {largest:.1e}");
}

/// Returns values rounded to bf16.
pub(crate) fn as_bf16(values: &[f32]) -> Vec<bf16> {
    rounded(values)
}
