//! How a stage that looks at all pages together decides about one of them.

use crate::page::Page;
use serde_json::Value;

/// Why a page is dropped: reason, value and limit. A reason with the name of a measured value is drawn with its cut.
pub(super) type Reason = (&'static str, Value, Value);

/// Decides about a page by its position among all and its content, and may change its text.
pub(super) type Decide = Box<dyn FnMut(usize, &mut Page) -> Option<Reason>>;
