//! cuBLAS: matrix products at the speed of the GPU. It is opened when a GPU is, from the first place that has it.

use super::driver_api::Handle;
use super::library::{Opened, functions, open};
use super::places;
use crate::gpu::product::Arguments;
use anyhow::{Result, anyhow, bail, ensure};
use kernels::Element;
use std::ffi::c_int;
use std::path::{Path, PathBuf};

functions! {
    /// Functions of cublas_api.h.
    Functions {
        create, "cublasCreate_v2", (*mut Handle);
        version, "cublasGetVersion_v2", (Handle, *mut c_int);
        set_stream, "cublasSetStream_v2", (Handle, Handle);
        set_math_mode, "cublasSetMathMode", (Handle, c_int);
        set_workspace, "cublasSetWorkspace_v2", (Handle, u64, usize);
        product, "cublasGemmEx", (Handle, c_int, c_int, c_int, c_int, c_int, *const f32, u64, c_int, c_int, u64, c_int, c_int, *const f32, u64, c_int, c_int, c_int, c_int);
    }
}

/// `CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION`: sums of bf16 products stay f32 to the end.
const EXACT_SUMS: c_int = 16;
/// `CUBLAS_COMPUTE_32F`
const COMPUTE_F32: c_int = 68;
/// `CUBLAS_GEMM_DEFAULT`
const DEFAULT_ALGORITHM: c_int = -1;

/// The GPU's memory that products work in: its size decides which algorithms cuBLAS can choose, so it is always the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workspace {
    pub(super) address: u64,
    pub(super) bytes: usize,
}

/// An open cuBLAS.
pub(super) struct CuBlas {
    functions: Functions,
    handle: Handle,
    /// Its version, and the file it is in.
    pub(super) version: String,
    pub(super) file: PathBuf,
}

/// The operands of a product in the GPU's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) out: u64,
    pub(super) a: u64,
    pub(super) b: u64,
}

impl CuBlas {
    /// Opens cuBLAS for the current context. `named` is the value of `places::VARIABLE`; `none` opens nothing.
    ///
    /// # Errors
    /// Where it was looked for, or why it cannot be used; and what to do.
    pub(super) fn find(
        driver: c_int,
        named: Option<&str>,
        stream: Handle,
        workspace: Workspace,
    ) -> Result<Option<Self>> {
        if named == Some("none") {
            return Ok(None);
        }
        let mut reasons = Vec::new();
        for file in places::cublas(driver, named) {
            let tried = match open(&file) {
                Opened::Absent => continue,
                Opened::Broken(reason) => Err(anyhow!(reason)),
                Opened::Library(library) => Functions::of(library)
                    .map_err(|symbol| anyhow!("it has no function {symbol}"))
                    .and_then(|functions| Self::start(functions, stream, workspace, &file)),
            };
            match tried {
                Ok(blas) => return Ok(Some(blas)),
                Err(reason) => reasons.push(format!("{}: {reason:#}", file.display())),
            }
        }
        let remedy = format!(
            "install it with `pip install {}`, or name its folder in {}; `{1}=none` computes products with the program's own kernels, several times slower",
            places::package(driver),
            places::VARIABLE
        );
        let names = places::names(driver).join(" or ");
        match (reasons.is_empty(), named) {
            (false, _) => bail!("cuBLAS cannot be used: {}; {remedy}", reasons.join("; ")),
            (true, Some(named)) => {
                bail!("{} is {named}, which has no {names}; {remedy}", places::VARIABLE)
            }
            (true, None) => bail!("cuBLAS ({names}) was not found; {remedy}"),
        }
    }

    fn start(functions: Functions, stream: Handle, workspace: Workspace, file: &Path) -> Result<Self> {
        let mut blas =
            Self { functions, handle: Handle::NULL, version: String::new(), file: file.to_owned() };
        let Self { functions, handle, .. } = &mut blas;
        let mut version = 0;
        // SAFETY: the pointers are to variables that live through the calls; the stream is of the current context, and
        // the workspace is memory of it that outlives the handle.
        unsafe {
            check(NAMES.create, (functions.create)(std::ptr::from_mut(handle)))?;
            check(NAMES.version, (functions.version)(*handle, &raw mut version))?;
            check(NAMES.set_stream, (functions.set_stream)(*handle, stream))?;
            check(
                NAMES.set_workspace,
                (functions.set_workspace)(*handle, workspace.address, workspace.bytes),
            )?;
            check(NAMES.set_math_mode, (functions.set_math_mode)(*handle, EXACT_SUMS))?;
        }
        blas.version = release(version);
        Ok(blas)
    }

    /// out = a · b, or is added to; see `product::arguments`.
    ///
    /// # Errors
    /// cuBLAS's.
    ///
    /// # Safety
    /// The operands must be in live buffers that are large enough for the arguments, and the handle's context current.
    pub(super) unsafe fn product<E: Element, C: Element>(
        &self,
        addresses: Addresses,
        arguments: Arguments,
        adds: bool,
    ) -> Result<()> {
        let (one, beta) = (1.0f32, if adds { 1.0f32 } else { 0.0 });
        let Arguments { m, n, k, first, second, stride } = arguments;
        let (element, result) = (data_type::<E>(), data_type::<C>());
        // SAFETY: as the caller guarantees; the factors live through the call, which reads them.
        let status = unsafe {
            (self.functions.product)(
                self.handle,
                c_int::from(first.0),
                c_int::from(second.0),
                m,
                n,
                k,
                &raw const one,
                addresses.b,
                element,
                first.1,
                addresses.a,
                element,
                second.1,
                &raw const beta,
                addresses.out,
                result,
                stride,
                COMPUTE_F32,
                DEFAULT_ALGORITHM,
            )
        };
        check(NAMES.product, status)
    }
}

fn check(call: &str, status: c_int) -> Result<()> {
    ensure!(status == 0, "{call} returned {} ({status})", status_name(status));
    Ok(())
}

/// `cudaDataType`
fn data_type<E: Element>() -> c_int {
    if E::BF16 { 14 } else { 0 }
}

/// `cublasStatus_t`
fn status_name(status: c_int) -> &'static str {
    match status {
        1 => "CUBLAS_STATUS_NOT_INITIALIZED",
        3 => "CUBLAS_STATUS_ALLOC_FAILED",
        7 => "CUBLAS_STATUS_INVALID_VALUE",
        8 => "CUBLAS_STATUS_ARCH_MISMATCH",
        11 => "CUBLAS_STATUS_MAPPING_ERROR",
        13 => "CUBLAS_STATUS_EXECUTION_FAILED",
        14 => "CUBLAS_STATUS_INTERNAL_ERROR",
        15 => "CUBLAS_STATUS_NOT_SUPPORTED",
        16 => "CUBLAS_STATUS_LICENSE_ERROR",
        _ => "a status that cublas_api.h does not name",
    }
}

/// Returns cuBLAS's version as its packages write it: 13.1.0 for 130100, 12.4.5 for 120405.
fn release(version: c_int) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(release(130_100), "13.1.0");
        assert_eq!(release(120_405), "12.4.5");
    }
}
