//! The card itself: candle's device, its stream and its cuBLAS handle, and our kernels as one module.

#![allow(clippy::needless_pass_by_value, reason = "an `Out` is the right to write once: it is given away")]

use super::buffer::Out;
use super::card::{Geometry, Held, Matrix};
use super::product::Arguments;
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result as blas, sys as blas_sys};
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use kernels::{Element, Into};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

/// What nvcc made of `posttrain/cuda`: code for compute capability 9.0, and PTX for every other from 8.0 up.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));
/// Shared memory a block may have without asking.
const SHARED: u32 = 48 << 10;

pub(super) type Slice = CudaSlice<u8>;

/// One card.
pub(super) struct Cuda {
    ordinal: usize,
    stream: Arc<CudaStream>,
    blas: Arc<CudaBlas>,
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    /// Holds all of the above alive as candle has it.
    _device: CudaDevice,
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Cuda({})", self.ordinal)
    }
}

/// How many cards there are.
pub(super) fn count() -> Result<usize> {
    Ok(CudaContext::device_count().map_err(|error| anyhow!("the driver says {:?}", error.0))? as usize)
}

impl Cuda {
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        let advice = "see what nvidia-smi says, or give --device cpu";
        let count = count()
            .with_context(|| format!("device is cuda:{ordinal}, but no card can be used: {advice}"))?;
        ensure!(
            ordinal < count,
            "device is cuda:{ordinal}, but this machine has {count} card{}: {advice}",
            if count == 1 { "" } else { "s" }
        );
        let cannot = || format!("cuda:{ordinal} cannot be opened: {advice}");
        let device = CudaDevice::new_with_stream(ordinal).with_context(cannot)?;
        // SAFETY: everything here happens on this one stream, in order.
        unsafe { device.disable_event_tracking() };
        let (stream, blas) = (device.cuda_stream(), device.cublas_handle());
        let (major, minor) = stream.context().compute_capability().with_context(cannot)?;
        ensure!(
            major >= 8,
            "cuda:{ordinal} has compute capability {major}.{minor}; the kernels need 8.0 (A100, RTX 30) or newer: give --device cpu"
        );
        // SAFETY: the handle is this card's; bf16 results are summed in f32 to the end.
        unsafe {
            let exact = blas_sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
            blas_sys::cublasSetMathMode(*blas.handle(), exact).result().with_context(cannot)?;
        }
        let module = stream.context().load_module(Ptx::from_binary(KERNELS.to_vec())).with_context(|| {
            format!("cuda:{ordinal}: the driver does not take the kernels; it is perhaps older than the CUDA they were built with")
        })?;
        Ok(Self { ordinal, stream, blas, module, functions: Mutex::default(), _device: device })
    }

    pub(super) fn name(&self) -> Result<String> {
        self.said(self.stream.context().name())
    }

    /// A driver's answer with the card's name.
    fn said<T, E: std::fmt::Debug>(&self, answer: Result<T, E>) -> Result<T> {
        answer.map_err(|error| anyhow!("cuda:{}: {error:?}", self.ordinal))
    }

    pub(super) fn free(&self) -> Result<u64> {
        self.said(self.stream.context().mem_get_info()).map(|(free, _)| free as u64)
    }

    pub(super) fn allocate(&self, bytes: u64) -> Result<(Held, u64)> {
        // SAFETY: the memory is not read before it is written: kernels that add are given zeros.
        let slice = self.said(unsafe { self.stream.alloc::<u8>(bytes as usize) })?;
        use candle_core::cuda_backend::cudarc::driver::DevicePtr;
        let address = slice.device_ptr(&self.stream).0;
        Ok((Held::Cuda { _slice: slice }, address))
    }

    /// Makes the card the calling thread's.
    fn bind(&self) -> Result<()> {
        self.said(self.stream.context().bind_to_thread())
    }

    pub(super) fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: an `Out` is within a live buffer.
        self.said(unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) })
    }

    pub(super) fn upload(&self, address: u64, bytes: &[u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: as above; what is copied lives until the stream has been waited for.
        self.said(unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) })?;
        self.wait()
    }

    pub(super) fn download(&self, bytes: &mut [u8], address: u64) -> Result<()> {
        self.bind()?;
        // SAFETY: an `In` is within a live buffer; the slice lives until the stream has been waited for.
        self.said(unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) })?;
        self.wait()
    }

    pub(super) fn wait(&self) -> Result<()> {
        self.said(self.stream.synchronize())
    }

    pub(super) fn launch(
        &self,
        kernel: &str,
        geometry: Geometry,
        pointers: &mut [*mut c_void],
        _: &[u8],
    ) -> Result<()> {
        self.bind()?;
        let function = self.function(kernel)?;
        if geometry.shared >= SHARED {
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            self.said(function.set_attribute(most, geometry.shared as i32))
                .with_context(|| format!("{kernel} needs {} bytes of shared memory", geometry.shared))?;
        }
        let triple = |sides: [u32; 3]| (sides[0], sides[1], sides[2]);
        // SAFETY: `kernels` writes the words in the kernel's own order and types, a test compares them with its source,
        // and every shape was checked against the lengths.
        let launched = unsafe {
            result::launch_kernel(
                function.cu_function(),
                triple(geometry.grid),
                triple(geometry.block),
                geometry.shared,
                self.stream.cu_stream(),
                pointers,
            )
        };
        self.said(launched).with_context(|| format!("{kernel} with {geometry:?}"))
    }

    fn function(&self, kernel: &str) -> Result<CudaFunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(kernel) {
            return Ok(function.clone());
        }
        let function =
            self.said(self.module.load_function(kernel)).with_context(|| format!("kernel {kernel}"))?;
        functions.insert(kernel.to_owned(), function.clone());
        Ok(function)
    }

    pub(super) fn product<E: Element, C: Element>(
        &self,
        out: Out<'_, C>,
        a: Matrix<'_, E>,
        b: Matrix<'_, E>,
        arguments: Arguments,
        into: Into,
    ) -> Result<()> {
        self.bind()?;
        let (one, beta) = (1.0f32, if into == Into::Add { 1.0f32 } else { 0.0 });
        let factor = |factor: &f32| std::ptr::from_ref(factor).cast::<c_void>();
        let Arguments { m, n, k, first, second, stride } = arguments;
        // SAFETY: the operands are within live buffers by `Matrix`, the result by its length.
        let done = unsafe {
            blas::gemm_ex(
                *self.blas.handle(),
                operation(first.0),
                operation(second.0),
                m,
                n,
                k,
                factor(&one),
                b.address() as *const c_void,
                number::<E>(),
                first.1,
                a.address() as *const c_void,
                number::<E>(),
                second.1,
                factor(&beta),
                out.address() as *mut c_void,
                number::<C>(),
                stride,
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        self.said(done).with_context(|| format!("product {arguments:?}"))
    }
}

fn operation(transposed: bool) -> blas_sys::cublasOperation_t {
    match transposed {
        true => blas_sys::cublasOperation_t::CUBLAS_OP_T,
        false => blas_sys::cublasOperation_t::CUBLAS_OP_N,
    }
}

fn number<E: Element>() -> blas_sys::cudaDataType {
    match E::BF16 {
        true => blas_sys::cudaDataType::CUDA_R_16BF,
        false => blas_sys::cudaDataType::CUDA_R_32F,
    }
}
