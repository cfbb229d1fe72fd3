//! OpenAI's error body, with the status it is sent under.
//!
//! Every fault of a request becomes one of these where it is found. The only 500 is an engine that failed.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::Refused;
use serde_json::{Value, json};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
    /// Seconds after which trying again makes sense.
    pub(crate) retry_after: Option<u64>,
}

/// The kind of everything that is the client's to mend.
const INVALID: &str = "invalid_request_error";

impl ApiError {
    /// An error of a kind, without parameter or code.
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, param: None, code: None, retry_after: None }
    }

    /// A parameter that cannot be honoured.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::body(message) }
    }

    /// A body that is no request at all.
    pub(crate) fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, message)
    }

    /// A model that is not served here.
    pub(crate) fn no_model(name: &str, served: &[&str]) -> Self {
        let message = format!("the model `{name}` does not exist here; served: {}", served.join(", "));
        let error = Self::new(StatusCode::NOT_FOUND, INVALID, message);
        Self { param: Some("model".to_owned()), ..error.with_code("model_not_found") }
    }

    /// An engine that could not go on. The operator is told too, wherever in an answer it happens.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        eprintln!("smolserve: {message}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// A server that cannot answer now, but may later.
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

    /// The body, as it is sent alone or in the middle of a stream.
    pub(crate) fn to_json(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
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

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::TooLong { .. } => Self::body(message).with_code("context_length_exceeded"),
            Refused::Value { parameter, .. } => Self::invalid(parameter, message),
            Refused::Unsupported { parameter, .. } => {
                Self::invalid(parameter, message).with_code("unsupported_parameter")
            }
            Refused::Constraint(_) => Self::invalid("response_format", message),
            Refused::Keyword { .. } => {
                Self::invalid("response_format", message).with_code("unsupported_schema_keyword")
            }
            Refused::Full { retry_after, .. } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
                    .with_code("queue_full")
            },
            Refused::Stopped => {
                eprintln!("smolserve: {message}");
                Self::unavailable("engine_stopped", format!("{message}; the server must be started again"))
            }
        }
    }
}
