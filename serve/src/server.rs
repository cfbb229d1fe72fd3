//! The router: which path goes to which endpoint, and the layers that every request passes.

mod authorization;
mod browser;
mod fallback;
mod observation;
mod path;
mod request_id;

use crate::answer::IsStream;
use crate::endpoints::{
    chat, chat_page, completions, embeddings, health, input_tokens, metrics, models, openapi, responses,
    tokenize,
};
use crate::error::ApiError;
use crate::origins::Origins;
use crate::state::ServerState;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{from_fn_with_state, map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyOrigin, CorsLayer};
use tower_http::on_early_drop::OnEarlyDropLayer;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use tower_layer::Layer;
use tracing::Span;

/// Every endpoint. From outside to inside, a request passes: request id, log, CORS, metrics, the rules
/// for browsers, panic guard, API key.
pub(crate) fn router(state: &Arc<ServerState>) -> Router {
    let guarded = Router::new()
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/chat/completions/input_tokens", post(input_tokens::of_chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/responses", post(responses::responses))
        .route("/v1/responses/input_tokens", post(input_tokens::of_response))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models::models))
        .route("/v1/models/{*id}", get(models::model))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/apply-template", post(tokenize::apply_template))
        .route("/tokenizer_info", get(tokenize::tokenizer_info))
        .route("/metrics", get(metrics::metrics));
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/", get(chat_page::page))
        .route("/page/{*path}", get(chat_page::file))
        .route("/openapi.json", get(openapi::openapi))
        .method_not_allowed_fallback(fallback::method_not_allowed);
    let observed = Arc::clone(state);
    let early_drop = move |request: &Request| observation::closed_early(&observed, request);
    let log_response = |response: &Response, latency: Duration, _: &Span| {
        // The line of a stream is written at its end.
        if response.extensions().get::<IsStream>().is_none() {
            observation::log_response(response.status().as_u16(), latency, response.extensions().get());
        }
    };
    let routes = guarded
        .fallback(fallback::not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(state), authorization::authorize))
        .merge(open)
        .layer(CatchPanicLayer::custom(internal_error))
        .layer(from_fn_with_state(Arc::clone(state), browser::guard))
        .layer(from_fn_with_state(Arc::clone(state), observation::count))
        .layer(OnEarlyDropLayer::builder().on_future_drop(early_drop))
        .layer(cors(&state.settings.origins))
        .layer(map_response(no_sniffing))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(observation::span)
                .on_request(())
                .on_response(log_response)
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(request_id::MakeId))
        .layer(map_request(request_id::remove_invalid))
        .with_state(Arc::clone(state));
    // Around the routes, because it changes which one is chosen.
    let prefix = state.settings.base_path.clone();
    let normalize = move |request: Request| {
        let request = path::normalize(request, prefix.as_deref());
        async move { request }
    };
    Router::new().fallback_service(map_request(normalize).layer(routes))
}

/// Tells browsers which pages may read answers.
fn cors(origins: &Origins) -> CorsLayer {
    let allowed = match origins.clone() {
        Origins::Any => AllowOrigin::from(AnyOrigin),
        origins => AllowOrigin::predicate(move |origin, request| {
            let host = browser::host(&request.headers).unwrap_or_default();
            origin.to_str().is_ok_and(|origin| origins.allow(origin, host))
        }),
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        // Mirrored, because a wildcard does not cover the header with the API key.
        .allow_headers(AllowHeaders::mirror_request())
        // Pages of the public network ask for this before they call a local server.
        .allow_private_network(true)
        .expose_headers([request_id::HEADER, header::RETRY_AFTER, crate::error::LEFT_OUT])
}

/// Answers are what their content type says.
async fn no_sniffing(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A handler that panics is a defect; its client gets an answer, and other requests continue.
#[allow(clippy::needless_pass_by_value, reason = "the layer passes the panic by value")]
fn internal_error(_: Box<dyn Any + Send>) -> Response {
    ApiError::internal("internal server error").into_response()
}
