//! Parts of a request that have no effect here. By default the rest of the request is answered, and the header
//! `x-smolserve-left-out` names them; a server with `--strict` refuses the request.
//!
//! A constraint of the text is never among them.

use crate::error::{ApiError, LEFT_OUT};
use axum::http::HeaderValue;
use axum::response::Response;

/// What was left out of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    parts: Vec<(String, String)>,
}

impl LeftOut {
    /// Adds a parameter and the reason.
    pub(crate) fn add(&mut self, param: impl Into<String>, reason: impl Into<String>) {
        self.parts.push((param.into(), reason.into()));
    }

    /// Adds those of another part of the request.
    pub(crate) fn extend(&mut self, other: Self) {
        self.parts.extend(other.parts);
    }

    /// Refuses the first one where the server is strict.
    pub(crate) fn check(&self, strict: bool) -> Result<(), ApiError> {
        match self.parts.first() {
            Some((param, reason)) if strict => {
                let message = format!(
                    "`{param}` would have no effect: {reason}; remove it, or start the server without `--strict`"
                );
                Err(ApiError::invalid(param, message).with_code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }

    /// Names them in the head of a response.
    pub(crate) fn name_in(&self, mut response: Response) -> Response {
        let parts: Vec<String> =
            self.parts.iter().map(|(param, reason)| format!("{param} ({reason})")).collect();
        let text: String =
            parts.join("; ").chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(2048).collect();
        if let (false, Ok(value)) = (parts.is_empty(), HeaderValue::from_str(&text)) {
            response.headers_mut().insert(LEFT_OUT, value);
        }
        response
    }
}
