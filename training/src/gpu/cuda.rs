//! The CUDA driver: candle's device with its stream and cuBLAS handle, and our kernels as one module.

#![allow(clippy::needless_pass_by_value, reason = "an `Out` is the right to write once: it is given away")]

use super::buffer::Out;
use super::driver::{Allocation, Geometry};
use super::matrix::Matrix;
use super::product::Arguments;
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result as blas, sys as blas_sys};
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaStream, DevicePtr, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use kernels::{Accumulate, Element};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

/// `training/cuda`, compiled by nvcc: code for compute capability 9.0, and PTX for all others from 8.0 up.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));
/// Bytes of shared memory from which on a kernel's limit must be raised.
const DEFAULT_SHARED: u32 = 48 << 10;

/// An open GPU.
pub(super) struct Cuda {
    ordinal: usize,
    stream: Arc<CudaStream>,
    blas: Arc<CudaBlas>,
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    /// Keeps stream and handle open.
    _device: CudaDevice,
}

/// Returns how many GPUs there are.
pub(super) fn count() -> Result<usize> {
    Ok(CudaContext::device_count().map_err(|error| anyhow!("the driver reports {:?}", error.0))? as usize)
}

impl Cuda {
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        let advice = "check the output of `nvidia-smi` or give `--device cpu`";
        let count = count()
            .with_context(|| format!("the device is cuda:{ordinal}, but no GPU can be used; {advice}"))?;
        ensure!(
            ordinal < count,
            "the device is cuda:{ordinal}, but this machine has {count} GPU{}; {advice}",
            if count == 1 { "" } else { "s" }
        );
        let cannot = || format!("cannot open cuda:{ordinal}; {advice}");
        let device = CudaDevice::new_with_stream(ordinal).with_context(cannot)?;
        // SAFETY: everything here runs on this one stream, in order.
        unsafe { device.disable_event_tracking() };
        let (stream, blas) = (device.cuda_stream(), device.cublas_handle());
        let (major, minor) = stream.context().compute_capability().with_context(cannot)?;
        ensure!(
            major >= 8,
            "cuda:{ordinal} has compute capability {major}.{minor}, but the kernels need 8.0 (A100, RTX 30) or newer; give `--device cpu`"
        );
        // SAFETY: the handle belongs to this GPU. With this mode sums of bf16 products stay f32 to the end.
        unsafe {
            let exact = blas_sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
            blas_sys::cublasSetMathMode(*blas.handle(), exact).result().with_context(cannot)?;
        }
        let module = stream.context().load_module(Ptx::from_binary(KERNELS.to_vec())).with_context(|| {
            format!("cuda:{ordinal}: the driver cannot load the kernels; update the driver if it is older than the CUDA toolkit of the build")
        })?;
        Ok(Self { ordinal, stream, blas, module, functions: Mutex::default(), _device: device })
    }

    pub(super) fn name(&self) -> Result<String> {
        self.named(self.stream.context().name())
    }

    /// Adds the GPU's number to a driver's error.
    fn named<T, E: std::fmt::Debug>(&self, result: Result<T, E>) -> Result<T> {
        result.map_err(|error| anyhow!("cuda:{}: {error:?}", self.ordinal))
    }

    pub(super) fn free(&self) -> Result<u64> {
        self.named(self.stream.context().mem_get_info()).map(|(free, _)| free as u64)
    }

    pub(super) fn allocate(&self, bytes: u64) -> Result<Allocation> {
        // SAFETY: the memory is not read before it is written; kernels that add are given zeros.
        let slice = self.named(unsafe { self.stream.alloc::<u8>(bytes as usize) })?;
        let address = slice.device_ptr(&self.stream).0;
        Ok(Allocation { owner: Box::new(slice), address })
    }

    /// Makes the GPU current for the calling thread.
    fn bind(&self) -> Result<()> {
        self.named(self.stream.context().bind_to_thread())
    }

    pub(super) fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: an `Out` is within a live buffer.
        self.named(unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) })
    }

    pub(super) fn upload(&self, address: u64, bytes: &[u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: as above; the slice lives until the copy is done, because `wait` follows.
        self.named(unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) })?;
        self.wait()
    }

    pub(super) fn download(&self, bytes: &mut [u8], address: u64) -> Result<()> {
        self.bind()?;
        // SAFETY: an `In` is within a live buffer; the slice lives until the copy is done, because `wait` follows.
        self.named(unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) })?;
        self.wait()
    }

    pub(super) fn wait(&self) -> Result<()> {
        self.named(self.stream.synchronize())
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
        if geometry.shared >= DEFAULT_SHARED {
            let limit = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            self.named(function.set_attribute(limit, geometry.shared as i32))
                .with_context(|| format!("{kernel} needs {} bytes of shared memory", geometry.shared))?;
        }
        let triple = |sides: [u32; 3]| (sides[0], sides[1], sides[2]);
        // SAFETY: the structs in `kernels` give the arguments in the kernel's own order and types, which a test compares
        // with the source, and every shape was checked against the lengths.
        let launch = unsafe {
            result::launch_kernel(
                function.cu_function(),
                triple(geometry.grid),
                triple(geometry.block),
                geometry.shared,
                self.stream.cu_stream(),
                pointers,
            )
        };
        self.named(launch).with_context(|| format!("{kernel} with {geometry:?}"))
    }

    fn function(&self, kernel: &str) -> Result<CudaFunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(kernel) {
            return Ok(function.clone());
        }
        let function =
            self.named(self.module.load_function(kernel)).with_context(|| format!("kernel {kernel}"))?;
        functions.insert(kernel.to_owned(), function.clone());
        Ok(function)
    }

    pub(super) fn product<E: Element, C: Element>(
        &self,
        out: Out<'_, C>,
        a: Matrix<'_, E>,
        b: Matrix<'_, E>,
        arguments: Arguments,
        accumulate: Accumulate,
    ) -> Result<()> {
        self.bind()?;
        let (one, beta) = (1.0f32, if accumulate == Accumulate::Add { 1.0f32 } else { 0.0 });
        let factor = |factor: &f32| std::ptr::from_ref(factor).cast::<c_void>();
        let Arguments { m, n, k, first, second, stride } = arguments;
        // SAFETY: the operands are within live buffers by `Matrix`, the result by its length.
        let gemm = unsafe {
            blas::gemm_ex(
                *self.blas.handle(),
                operation(first.0),
                operation(second.0),
                m,
                n,
                k,
                factor(&one),
                b.address() as *const c_void,
                data_type::<E>(),
                first.1,
                a.address() as *const c_void,
                data_type::<E>(),
                second.1,
                factor(&beta),
                out.address() as *mut c_void,
                data_type::<C>(),
                stride,
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        self.named(gemm).with_context(|| format!("product {arguments:?}"))
    }
}

fn operation(transposed: bool) -> blas_sys::cublasOperation_t {
    match transposed {
        true => blas_sys::cublasOperation_t::CUBLAS_OP_T,
        false => blas_sys::cublasOperation_t::CUBLAS_OP_N,
    }
}

fn data_type<E: Element>() -> blas_sys::cudaDataType {
    match E::BF16 {
        true => blas_sys::cudaDataType::CUDA_R_16BF,
        false => blas_sys::cudaDataType::CUDA_R_32F,
    }
}
