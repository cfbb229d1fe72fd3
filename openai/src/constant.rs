//! Fields that have one value on the wire, such as `"object": "model"`.

/// Declares the type of a field with one value. `Default` gives that value.
macro_rules! constant {
    ($(#[$attribute:meta])* $name:ident = $value:literal) => {
        $(#[$attribute])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[schemars(inline)]
        pub enum $name {
            #[doc = concat!("`", $value, "`.")]
            #[default]
            #[serde(rename = $value)]
            Value,
        }
    };
}

pub(crate) use constant;
