//! The CUDA driver, which is opened when a GPU is asked for; our kernels as one module; and products by cuBLAS, or by our
//! kernels where it is not wanted. A program with this feature starts on every machine.

#![allow(clippy::needless_pass_by_value, reason = "an `Out` is the right to write once: it is given away")]

mod context;
mod cublas;
mod driver_api;
mod failure;
mod library;
mod places;
mod queue;
mod staging;
#[cfg(test)]
mod tests;

use super::buffer::Out;
use super::driver::{Allocation, Facts, Geometry, Mark};
use super::matrix::Matrix;
use super::product::Arguments;
use anyhow::{Context as _, Result, anyhow, ensure};
use context::{Context, Memory};
use cublas::{Addresses, CuBlas, Workspace};
use driver_api::{Attribute, Driver, Handle, call, dotted};
use kernels::{Accumulate, Element};
use queue::Queue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// `training/cuda`, compiled by nvcc: machine code for the compute capabilities that `build.rs` names, and PTX for others.
static NATIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));
/// The same as PTX that drivers from CUDA 11.8 on compile, ending with a 0.
static PORTABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
/// The CUDA version of the nvcc that compiled them, as 1000 · major + 10 · minor: `NATIVE` needs a driver of it.
const COMPILED_BY: &str = env!("SMOL_CUDA_VERSION");
/// A hash of the kernels' sources and of how they were compiled.
const KERNELS_HASH: &str = env!("SMOL_CUDA_KERNELS");
/// Bytes of shared memory above which a kernel's limit must be raised.
const DEFAULT_SHARED: u32 = 48 << 10;
/// Bytes that products work in; cuBLAS recommends 32 MiB for compute capability 9.0 and less for others.
const WORKSPACE: u64 = 64 << 20;
const ADVICE: &str = "check the output of `nvidia-smi` or give `--device cpu`";

/// An open GPU.
pub(super) struct Cuda {
    ordinal: usize,
    device: c_int,
    context: Arc<Context>,
    module: Handle,
    image: &'static str,
    functions: Mutex<HashMap<String, Function>>,
    blas: Option<CuBlas>,
    _workspace: Memory,
}

/// A kernel, and the bytes of shared memory that it is allowed.
#[derive(Clone, Copy)]
struct Function {
    handle: Handle,
    shared: u32,
}

/// Returns how many GPUs there are.
///
/// # Errors
/// Why the driver cannot be used.
pub(super) fn count() -> Result<usize> {
    let driver = Driver::get().map_err(|reason| anyhow!(reason))?;
    Ok(driver.device_count()?)
}

impl Cuda {
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        let driver = Driver::get()
            .map_err(|reason| anyhow!("cuda:{ordinal} cannot be used: {reason}, or give `--device cpu`"))?;
        Self::open_with(driver, ordinal, std::env::var(places::VARIABLE).ok().as_deref())
    }

    fn open_with(driver: Arc<Driver>, ordinal: usize, libraries: Option<&str>) -> Result<Self> {
        let cannot = || format!("cannot open cuda:{ordinal}; {ADVICE}");
        let count = driver.device_count().with_context(cannot)?;
        ensure!(
            ordinal < count,
            "the device is cuda:{ordinal}, but this machine has {count} GPU{}; {ADVICE}",
            if count == 1 { "" } else { "s" }
        );
        let device = driver.device(ordinal).with_context(cannot)?;
        let attribute = |attribute| driver.attribute(attribute, device).with_context(cannot);
        let (major, minor) = (attribute(Attribute::CapabilityMajor)?, attribute(Attribute::CapabilityMinor)?);
        ensure!(
            major >= 8,
            "cuda:{ordinal} ({}) has compute capability {major}.{minor}, but the kernels need 8.0 (A100, RTX 30) or newer; give `--device cpu`",
            driver.name(device).with_context(cannot)?
        );
        // The pool's allocations are neighbors, so tools that look for overruns need the others.
        let plain = std::env::var_os("SMOL_CUDA_PLAIN_MEMORY").is_some_and(|value| value == "1");
        let pooled = !plain && attribute(Attribute::MemoryPools)? != 0;
        let context = Arc::new(Context::open(driver, device, pooled).with_context(cannot)?);
        let (module, image) = load_kernels(&context).with_context(|| {
            format!("cuda:{ordinal}: the driver cannot load the kernels; update the driver, or give `--device cpu`")
        })?;
        let workspace = context.allocate(WORKSPACE).with_context(cannot)?;
        let at = Workspace { address: workspace.address, bytes: WORKSPACE as usize };
        let blas = CuBlas::find(context.queue.driver.version, libraries, context.queue.stream, at)
            .with_context(|| format!("cuda:{ordinal}"))?;
        let functions = Mutex::default();
        Ok(Self { ordinal, device, context, module, image, functions, blas, _workspace: workspace })
    }

    /// Adds the GPU's number to a driver's error.
    fn named<T>(&self, result: Result<T, failure::Failure>) -> Result<T> {
        result.with_context(|| format!("cuda:{}", self.ordinal))
    }

    pub(super) fn name(&self) -> Result<String> {
        self.named(self.context.queue.driver.name(self.device))
    }

    pub(super) fn facts(&self) -> Result<Facts> {
        let driver = &self.context.queue.driver;
        let attribute = |attribute| self.named(driver.attribute(attribute, self.device));
        let products = match &self.blas {
            Some(blas) => json!(format!("cuBLAS {}", blas.version)),
            None => json!("the program's kernels"),
        };
        let decisive = json!({
            "name": self.name()?,
            "capability": format!("{}.{}", attribute(Attribute::CapabilityMajor)?, attribute(Attribute::CapabilityMinor)?),
            "multiprocessors": attribute(Attribute::Multiprocessors)?,
            "driver": dotted(driver.version),
            "products": products,
            "kernels": KERNELS_HASH,
            "image": self.image,
        });
        let [free, total] = self.named(self.context.memory())?;
        let mut others = json!({
            "bus": self.named(driver.bus(self.device))?,
            "free_bytes": free,
            "total_bytes": total,
            "error_correction": attribute(Attribute::EccEnabled)? != 0,
            "shared_bytes_of_a_block": attribute(Attribute::SharedBytesOptIn)?,
            "l2_bytes": attribute(Attribute::L2Bytes)?,
        });
        // Newer drivers no longer have these.
        for (name, clock) in
            [("clock_mhz", Attribute::ClockKilohertz), ("memory_clock_mhz", Attribute::MemoryClockKilohertz)]
        {
            others[name] = attribute(clock).map_or(Value::Null, |kilohertz| json!(kilohertz / 1000));
        }
        if let Some(blas) = &self.blas {
            others["cublas_file"] = json!(blas.file);
        }
        Ok(Facts { decisive, others })
    }

    pub(super) fn has_products(&self) -> bool {
        self.blas.is_some()
    }

    pub(super) fn free(&self) -> Result<u64> {
        self.named(self.context.memory()).map(|[free, _]| free as u64)
    }

    /// Returns none when the memory does not suffice.
    pub(super) fn allocate(&self, bytes: u64) -> Result<Option<Allocation>> {
        match self.context.allocate(bytes) {
            Ok(memory) => Ok(Some(memory.into())),
            Err(failure) if failure.is_out_of_memory() => Ok(None),
            Err(failure) => self.named(Err(failure)),
        }
    }

    pub(super) fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        // SAFETY: an `Out` is within a live buffer.
        self.named(unsafe { self.context.zero(address, bytes) })
    }

    pub(super) fn upload(&self, address: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: as above.
        self.named(unsafe { self.context.upload(address, bytes) })
    }

    pub(super) fn download(&self, bytes: &mut [u8], address: u64) -> Result<()> {
        // SAFETY: an `In` is within a live buffer.
        self.named(unsafe { self.context.download(bytes, address) })
    }

    pub(super) fn wait(&self) -> Result<()> {
        self.named(self.context.wait())
    }

    pub(super) fn mark(&self, earlier: Option<Mark>) -> Result<Mark> {
        let event = match earlier {
            Some(Mark::Event(address)) => {
                let event = Handle(address as *mut c_void);
                self.named(self.context.queue.record(event))?;
                event
            }
            _ => self.named(self.context.event())?,
        };
        Ok(Mark::Event(event.0 as usize))
    }

    pub(super) fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        match (from, to) {
            (Mark::Event(from), Mark::Event(to)) => {
                let event = |address: usize| Handle(address as *mut c_void);
                self.named(self.context.seconds(event(from), event(to)))
            }
            #[cfg(feature = "emulated")]
            _ => Ok(0.0),
        }
    }

    pub(super) fn launch(
        &self,
        kernel: &str,
        geometry: Geometry,
        pointers: &mut [*mut c_void],
        _: &[u8],
    ) -> Result<()> {
        let launch = || format!("{kernel} with {geometry:?}");
        self.named(self.context.bind())?;
        let function = self.function(kernel, geometry.shared)?;
        let Queue { driver, stream } = &self.context.queue;
        let ([x, y, z], [threads_x, threads_y, threads_z]) = (geometry.grid, geometry.block);
        let arguments = pointers.as_mut_ptr();
        // SAFETY: the structs in `kernels` give the arguments in the kernel's own order and types, which a test compares
        // with the source, and every shape was checked against the lengths.
        self.named(unsafe {
            call!(
                driver,
                launch(
                    function,
                    x,
                    y,
                    z,
                    threads_x,
                    threads_y,
                    threads_z,
                    geometry.shared,
                    *stream,
                    arguments,
                    std::ptr::null_mut()
                )
            )
        })
        .with_context(launch)
    }

    /// Returns a kernel that may use this much shared memory.
    fn function(&self, kernel: &str, shared: u32) -> Result<Handle> {
        let driver = &self.context.queue.driver;
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut function = match functions.get(kernel) {
            Some(function) if function.shared >= shared => return Ok(function.handle),
            Some(function) => *function,
            None => {
                let (mut handle, name) = (Handle::NULL, CString::new(kernel)?);
                // SAFETY: the pointer is to a handle and the name a string, both of which live through the call.
                self.named(unsafe { call!(driver, function(&raw mut handle, self.module, name.as_ptr())) })
                    .with_context(|| format!("kernel {kernel}"))?;
                Function { handle, shared: DEFAULT_SHARED }
            }
        };
        if shared > function.shared {
            // `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`
            let attribute = 8;
            // SAFETY: the function is of the open module.
            self.named(unsafe {
                call!(driver, set_function_attribute(function.handle, attribute, shared as c_int))
            })
            .with_context(|| format!("{kernel} needs {shared} bytes of shared memory"))?;
            function.shared = shared;
        }
        functions.insert(kernel.to_owned(), function);
        Ok(function.handle)
    }

    pub(super) fn product<E: Element, C: Element>(
        &self,
        out: Out<'_, C>,
        a: Matrix<'_, E>,
        b: Matrix<'_, E>,
        arguments: Arguments,
        accumulate: Accumulate,
    ) -> Result<()> {
        self.named(self.context.bind())?;
        let blas = self.blas.as_ref().expect("`has_products` was asked");
        let addresses = Addresses { out: out.address(), a: a.address(), b: b.address() };
        // SAFETY: the operands are within live buffers by `Matrix`, the result by its length.
        unsafe { blas.product::<E, C>(addresses, arguments, accumulate == Accumulate::Add) }
            .with_context(|| format!("cuda:{}: product {arguments:?}", self.ordinal))
    }
}

/// Loads the kernels: the driver chooses machine code or compiles the PTX. Drivers older than the compiler are given older
/// PTX.
fn load_kernels(context: &Context) -> Result<(Handle, &'static str)> {
    let compiled_by: c_int = COMPILED_BY.parse().expect("build.rs writes a number");
    let forced = std::env::var_os("SMOL_CUDA_IMAGE").is_some_and(|value| value == "portable");
    let (image, name) = match forced || context.queue.driver.version < compiled_by {
        true => (PORTABLE, "portable PTX"),
        false => (NATIVE, "machine code"),
    };
    let mut module = Handle::NULL;
    // SAFETY: the image is a fat binary of nvcc, or PTX that ends with a 0; the driver copies it.
    unsafe { call!(context.queue.driver, load_module(&raw mut module, image.as_ptr().cast())) }
        .with_context(|| format!("{name}, compiled by CUDA {}", dotted(compiled_by)))?;
    Ok((module, name))
}
