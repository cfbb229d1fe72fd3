//! The parameters of a kernel's struct as C writes them, to be compared with the sources.

use crate::gpu::buffer::{In, Out};
use half::bf16;

/// A kernel's name and its parameters (name, C type).
pub(crate) type Signature = (String, Vec<(String, String)>);

/// An element type's name in C and, where it is a data type of activations, in the names of kernels.
pub(crate) trait ElementName {
    const NAME: &'static str;
    const SUFFIX: &'static str = "";
}

impl ElementName for f32 {
    const NAME: &'static str = "float";
    const SUFFIX: &'static str = "f32";
}

impl ElementName for bf16 {
    const NAME: &'static str = "bf16";
    const SUFFIX: &'static str = "bf16";
}

impl ElementName for f64 {
    const NAME: &'static str = "double";
}

impl ElementName for u32 {
    const NAME: &'static str = "u32";
}

impl ElementName for u64 {
    const NAME: &'static str = "u64";
}

/// A parameter's type in C.
pub(crate) trait CType {
    fn c_type() -> String;
}

impl<T: ElementName> CType for In<'_, T> {
    fn c_type() -> String {
        format!("const {}*", T::NAME)
    }
}

impl<T: ElementName> CType for Out<'_, T> {
    fn c_type() -> String {
        format!("{}*", T::NAME)
    }
}

impl<A: CType> CType for Option<A> {
    fn c_type() -> String {
        A::c_type()
    }
}

impl CType for u32 {
    fn c_type() -> String {
        "u32".to_owned()
    }
}

impl CType for u64 {
    fn c_type() -> String {
        "u64".to_owned()
    }
}

impl CType for f32 {
    fn c_type() -> String {
        "float".to_owned()
    }
}

/// Returns a kernel's signature; a raw identifier (`r#in`) is named without its prefix.
pub(crate) fn signature(name: &str, suffix: &str, parameters: &[(&str, String)]) -> Signature {
    let parameter =
        |(name, c_type): &(&str, String)| (name.trim_start_matches("r#").to_owned(), c_type.clone());
    (format!("{name}{suffix}"), parameters.iter().map(parameter).collect())
}
