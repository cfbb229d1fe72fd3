//! The driver's functions (libcuda.so.1), opened when a GPU is first asked for. Types and names are those of cuda.h.

use super::failure::Failure;
use super::library::{Opened, functions, open};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The oldest CUDA whose driver runs the portable PTX (`build.rs` writes it for this version's instruction set).
const OLDEST: c_int = 11_080;
/// What `OLDEST` needs, for people.
const OLDEST_DRIVER: &str = "driver 520 (CUDA 11.8)";

/// A pointer that only the driver follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Handle(pub(super) *mut c_void);

// SAFETY: the driver's handles can be used from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) const NULL: Self = Self(std::ptr::null_mut());
}

functions! {
    /// The driver's functions that are used.
    Functions {
        init, "cuInit", (c_uint);
        version, "cuDriverGetVersion", (*mut c_int);
        error_name, "cuGetErrorName", (c_int, *mut *const c_char);
        error_words, "cuGetErrorString", (c_int, *mut *const c_char);
        device_count, "cuDeviceGetCount", (*mut c_int);
        device, "cuDeviceGet", (*mut c_int, c_int);
        device_name, "cuDeviceGetName", (*mut c_char, c_int, c_int);
        device_bus, "cuDeviceGetPCIBusId", (*mut c_char, c_int, c_int);
        device_attribute, "cuDeviceGetAttribute", (*mut c_int, c_int, c_int);
        retain_context, "cuDevicePrimaryCtxRetain", (*mut Handle, c_int);
        set_context, "cuCtxSetCurrent", (Handle);
        memory, "cuMemGetInfo_v2", (*mut usize, *mut usize);
        create_stream, "cuStreamCreate", (*mut Handle, c_uint);
        wait, "cuStreamSynchronize", (Handle);
        allocate, "cuMemAlloc_v2", (*mut u64, usize);
        free, "cuMemFree_v2", (u64);
        allocate_async, "cuMemAllocAsync", (*mut u64, usize, Handle);
        free_async, "cuMemFreeAsync", (u64, Handle);
        allocate_host, "cuMemHostAlloc", (*mut *mut c_void, usize, c_uint);
        free_host, "cuMemFreeHost", (*mut c_void);
        set_bytes, "cuMemsetD8Async", (u64, u8, usize, Handle);
        upload, "cuMemcpyHtoDAsync_v2", (u64, *const c_void, usize, Handle);
        download, "cuMemcpyDtoHAsync_v2", (*mut c_void, u64, usize, Handle);
        load_module, "cuModuleLoadData", (*mut Handle, *const c_void);
        function, "cuModuleGetFunction", (*mut Handle, Handle, *const c_char);
        set_function_attribute, "cuFuncSetAttribute", (Handle, c_int, c_int);
        launch, "cuLaunchKernel", (Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void);
        create_event, "cuEventCreate", (*mut Handle, c_uint);
        record_event, "cuEventRecord", (Handle, Handle);
        wait_event, "cuEventSynchronize", (Handle);
        elapsed, "cuEventElapsedTime", (*mut f32, Handle, Handle);
    }
}

/// The driver, initialized.
pub(super) struct Driver {
    pub(super) functions: Functions,
    /// The CUDA version that it supports, as 1000 · major + 10 · minor.
    pub(super) version: c_int,
    waits_for_launches: bool,
}

/// Calls a function of the driver: `call!(driver, launch(arguments))`. Evaluates to `Result<(), Failure>`.
macro_rules! call {
    ($driver:expr, $function:ident($($argument:expr),* $(,)?)) => {
        $driver.check(|names| names.$function, ($driver.functions.$function)($($argument),*))
    };
}
pub(super) use call;

impl Driver {
    /// Returns the driver; it is opened once in a process, and again only after a failure.
    ///
    /// # Errors
    /// Why it cannot be used, and what is needed.
    pub(super) fn get() -> Result<Arc<Self>, String> {
        static DRIVER: Mutex<Option<Arc<Driver>>> = Mutex::new(None);
        let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
        if driver.is_none() {
            *driver = Some(Arc::new(Self::load()?));
        }
        Ok(Arc::clone(driver.as_ref().expect("set above")))
    }

    /// Opens and initializes the driver.
    pub(super) fn load() -> Result<Self, String> {
        Self::load_from(places())
    }

    /// Opens and initializes the first of these files that is there.
    pub(super) fn load_from(places: Vec<PathBuf>) -> Result<Self, String> {
        let mut broken = None;
        for file in places {
            match open(&file) {
                Opened::Library(library) => {
                    let functions = Functions::of(library).map_err(|symbol| {
                        format!("the NVIDIA driver ({}) has no function {symbol}; install {OLDEST_DRIVER} or newer", file.display())
                    })?;
                    return Self::start(functions);
                }
                Opened::Absent => {}
                Opened::Broken(reason) => {
                    broken.get_or_insert(reason);
                }
            }
        }
        Err(match broken {
            Some(reason) => format!("the NVIDIA driver cannot be loaded ({reason}); install it again"),
            None => "this machine has no NVIDIA driver (libcuda.so.1); install one, or start the container with its GPUs (`--gpus all`)".to_owned(),
        })
    }

    fn start(functions: Functions) -> Result<Self, String> {
        let waits_for_launches = std::env::var_os("CUDA_LAUNCH_BLOCKING").is_some_and(|value| value == "1");
        let mut driver = Self { functions, version: 0, waits_for_launches };
        let mut version = 0;
        // SAFETY: the pointer is to a number that lives through the call.
        unsafe { call!(driver, version(&raw mut version)) }.map_err(|failure| failure.to_string())?;
        driver.version = version;
        if version < OLDEST {
            return Err(format!(
                "the NVIDIA driver supports CUDA {}, but the kernels need {OLDEST_DRIVER} or newer; update the driver",
                dotted(version)
            ));
        }
        // SAFETY: takes no pointer.
        unsafe { call!(driver, init(0)) }.map_err(|failure| match failure.code {
            100 => format!("the NVIDIA driver finds no GPU ({failure})"),
            803 => format!(
                "the NVIDIA driver's library and its kernel module differ ({failure}); restart the machine"
            ),
            _ => format!("the NVIDIA driver cannot start ({failure})"),
        })?;
        Ok(driver)
    }

    /// Returns an error for every status but 0.
    pub(super) fn check(
        &self,
        call: impl FnOnce(&Names) -> &'static str,
        code: c_int,
    ) -> Result<(), Failure> {
        if code == 0 {
            return Ok(());
        }
        let Self { functions, waits_for_launches, .. } = self;
        let text = |find: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int| {
            let mut text = std::ptr::null();
            // SAFETY: the pointer is to a pointer; the driver sets it to a constant string or to null.
            let status = unsafe { find(code, &raw mut text) };
            // SAFETY: as above.
            (status == 0 && !text.is_null())
                .then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        let words = match (text(functions.error_name), text(functions.error_words)) {
            (Some(name), Some(words)) => format!("{name}, {words}"),
            (Some(name), None) => name,
            _ => "an error that it does not name".to_owned(),
        };
        Err(Failure { call: call(&NAMES), code, words, waits_for_launches: *waits_for_launches })
    }

    /// Returns how many GPUs there are.
    pub(super) fn device_count(&self) -> Result<usize, Failure> {
        let mut count = 0;
        // SAFETY: the pointer is to a number that lives through the call.
        unsafe { call!(self, device_count(&raw mut count)) }?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Returns the driver's number for the GPU.
    pub(super) fn device(&self, ordinal: usize) -> Result<c_int, Failure> {
        let mut device = 0;
        // SAFETY: as above.
        unsafe { call!(self, device(&raw mut device, ordinal as c_int)) }?;
        Ok(device)
    }

    /// Returns an attribute of a GPU.
    pub(super) fn attribute(&self, attribute: Attribute, device: c_int) -> Result<c_int, Failure> {
        let mut value = 0;
        // SAFETY: as above.
        unsafe { call!(self, device_attribute(&raw mut value, attribute as c_int, device)) }?;
        Ok(value)
    }

    /// Returns a GPU's name.
    pub(super) fn name(&self, device: c_int) -> Result<String, Failure> {
        // SAFETY: the buffer has the length that is given.
        text_of(|text, length| unsafe { call!(self, device_name(text, length, device)) })
    }

    /// Returns a GPU's place on the bus, as `nvidia-smi` writes it.
    pub(super) fn bus(&self, device: c_int) -> Result<String, Failure> {
        // SAFETY: as above.
        text_of(|text, length| unsafe { call!(self, device_bus(text, length, device)) })
    }
}

/// `CUdevice_attribute`
#[derive(Clone, Copy, Debug)]
pub(super) enum Attribute {
    ClockKilohertz = 13,
    Multiprocessors = 16,
    EccEnabled = 32,
    MemoryClockKilohertz = 36,
    L2Bytes = 38,
    CapabilityMajor = 75,
    CapabilityMinor = 76,
    SharedBytesOptIn = 97,
    MemoryPools = 115,
}

/// Returns a CUDA version as people write it.
pub(super) fn dotted(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn text_of(fill: impl FnOnce(*mut c_char, c_int) -> Result<(), Failure>) -> Result<String, Failure> {
    let mut text = [0 as c_char; 256];
    fill(text.as_mut_ptr(), text.len() as c_int - 1)?;
    // SAFETY: the last byte is 0 whatever the driver wrote before it.
    Ok(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
}

/// Returns where the driver's library can be, best first. Containers often have it where the loader does not look.
fn places() -> Vec<PathBuf> {
    // For tests: another library with the driver's functions.
    if let Some(file) = std::env::var_os("SMOL_CUDA_DRIVER") {
        return vec![file.into()];
    }
    const FOLDERS: [&str; 7] = [
        "/usr/local/nvidia/lib64",
        "/usr/lib64/nvidia",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib/wsl/lib",
        "/run/opengl-driver/lib",
    ];
    let names = ["libcuda.so.1", "libcuda.so"].map(PathBuf::from);
    names.into_iter().chain(FOLDERS.map(|folder| PathBuf::from(folder).join("libcuda.so.1"))).collect()
}
