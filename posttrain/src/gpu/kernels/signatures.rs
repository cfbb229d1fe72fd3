//! The parameters above as C writes them, to be compared with the sources.

use super::*;
use half::bf16;

/// A number by C's name and, where it is an activation, as a kernel's suffix.
#[allow(unreachable_pub, reason = "it bounds public types' tests")]
pub trait Named {
    const NAME: &'static str;
    const SUFFIX: &'static str = "";
}

impl Named for f32 {
    const NAME: &'static str = "float";
    const SUFFIX: &'static str = "f32";
}

impl Named for bf16 {
    const NAME: &'static str = "bf16";
    const SUFFIX: &'static str = "bf16";
}

impl Named for f64 {
    const NAME: &'static str = "double";
}

impl Named for u32 {
    const NAME: &'static str = "u32";
}

impl Named for u64 {
    const NAME: &'static str = "u64";
}

/// A parameter's type as C writes it.
#[allow(unreachable_pub, reason = "it bounds public types' tests")]
pub trait Written {
    fn written() -> String;
}

impl<T: Named> Written for In<'_, T> {
    fn written() -> String {
        format!("const {}*", T::NAME)
    }
}

impl<T: Named> Written for Out<'_, T> {
    fn written() -> String {
        format!("{}*", T::NAME)
    }
}

impl<A: Written> Written for Option<A> {
    fn written() -> String {
        A::written()
    }
}

impl Written for u32 {
    fn written() -> String {
        "u32".to_owned()
    }
}

impl Written for u64 {
    fn written() -> String {
        "u64".to_owned()
    }
}

impl Written for f32 {
    fn written() -> String {
        "float".to_owned()
    }
}

pub(super) fn made(
    name: &str,
    suffix: &str,
    parameters: &[(&str, String)],
) -> (String, Vec<(String, String)>) {
    let parameter =
        |(name, written): &(&str, String)| (name.trim_start_matches("r#").to_owned(), written.clone());
    (format!("{name}{suffix}"), parameters.iter().map(parameter).collect())
}

/// Every kernel there is.
pub(in super::super) fn all() -> Vec<(String, Vec<(String, String)>)> {
    macro_rules! both {
        ($($kernel:ident),*) => { [$( $kernel::<f32>::signature(), $kernel::<bf16>::signature() ),*] };
    }
    let typed = both!(
        EmbeddingForward,
        NormForward,
        NormBackward,
        Rotate,
        SwigluForward,
        SwigluBackward,
        CrossEntropyForward,
        CrossEntropyGradient,
        AttentionForward,
        AttentionDelta,
        AttentionBackwardQuery,
        AttentionBackwardKey
    );
    let others = [
        EmbeddingBackward::signature(),
        NormBackwardWeight::signature(),
        CrossEntropyGradientHalved::signature(),
        SquaredNorm::signature(),
        GradientNorm::signature(),
        AdamW::signature(),
        CastToBf16::signature(),
        Fill::signature(),
        AttentionForward64::signature(),
        AttentionBackwardQuery64::signature(),
        AttentionBackwardKey64::signature(),
    ];
    typed.into_iter().chain(others).collect()
}
