//! OpenAI's error body, with the status it is sent with.
//!
//! Every fault of a request becomes an [`ApiError`] where it is found. Only a failed engine or a defect is a 500.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::RequestError;
use openai::error::{ErrorBody, ErrorDetail};

/// The header that names what of a request had no effect, such as `tools[1] (web_search)`.
pub(crate) const LEFT_OUT: HeaderName = HeaderName::from_static("x-smolserve-left-out");

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
    /// Seconds after which the client may try again.
    pub(crate) retry_after: Option<u64>,
}

/// The kind of all errors that the client can correct.
const INVALID: &str = "invalid_request_error";

impl ApiError {
    /// An error of a kind, without parameter or code.
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, param: None, code: None, retry_after: None }
    }

    /// A 400 that names no parameter.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::invalid_request(StatusCode::BAD_REQUEST, message)
    }

    /// A 400 for one parameter.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::bad_request(message) }
    }

    /// An error that the client can correct, with another status.
    pub(crate) fn invalid_request(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, INVALID, message)
    }

    /// A model that is not served.
    pub(crate) fn unknown_model(name: &str, served: &[&str]) -> Self {
        let message = format!("the model `{name}` is not served; served models: {}", served.join(", "));
        let error = Self::invalid_request(StatusCode::NOT_FOUND, message);
        Self { param: Some("model".to_owned()), ..error.with_code("model_not_found") }
    }

    /// A failed engine or a defect; also logged.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        tracing::error!("{message}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// A server that cannot answer now.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).with_code(code)
    }

    /// A request that ran longer than the server allows.
    pub(crate) fn timeout(seconds: f64) -> Self {
        let message = format!("the answer took longer than {seconds} s (--request-timeout)");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", message).with_code("timeout")
    }

    /// The same error with a code for programs.
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The body, which is sent alone or within a stream.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                message: self.message.clone(),
                kind: self.kind.to_owned(),
                param: self.param.clone(),
                code: self.code.map(str::to_owned),
            },
        }
    }
}

/// Why a request has no answer, for its line in the log: never a value that the client sent; `param` may be a field name
/// of its body.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    pub(crate) code: &'static str,
    pub(crate) param: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let code = self.code.unwrap_or(self.kind);
        response.extensions_mut().insert(Reason { code, param: self.param.clone().unwrap_or_default() });
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        match error {
            RequestError::TooLong { .. } => Self::bad_request(message).with_code("context_length_exceeded"),
            RequestError::Value { parameter, .. } => Self::invalid(parameter, message),
            RequestError::Unsupported { parameter, .. } => {
                Self::invalid(parameter, message).with_code("unsupported_parameter")
            }
            RequestError::Constraint(_) | RequestError::Schema { .. } => {
                Self::invalid("response_format", message)
            }
            RequestError::Keyword { .. } => {
                Self::invalid("response_format", message).with_code("unsupported_schema_keyword")
            }
            RequestError::Full { retry_after, .. } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
                    .with_code("queue_full")
            },
            RequestError::Stopped => {
                tracing::error!("{message}");
                Self::unavailable("engine_stopped", format!("{message}; restart the server"))
            }
        }
    }
}
