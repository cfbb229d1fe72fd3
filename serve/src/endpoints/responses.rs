//! `POST /v1/responses`: the request brings the whole conversation, or continues a stored one.
//!
//! The same path as a chat completion, with other names.

use crate::answer::{
    AnswerPlan, ParameterNames, ResponseStorage, ResponseWriter, RunningAnswers, StreamWriter, stream,
};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::prompt;
use crate::state::ServerState;
use crate::valid::ResponseRequest;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use std::sync::Arc;

/// Answers a conversation.
pub(crate) async fn responses(
    State(state): State<Arc<ServerState>>,
    Extension(caller): Extension<Caller>,
    JsonBody(body, share): JsonBody,
) -> Result<Response, ApiError> {
    let settings = &state.settings;
    let mut request = ResponseRequest::new(body, settings.lenient)?;
    let model = state.model(&request.model).await?;
    with_stored_messages(&state, &mut request, caller)?;
    let ResponseRequest { conversation, generation, input_start, stores, mut echo, .. } = request;
    echo.store = stores && state.responses.is_on();
    let storage = echo.store.then(|| ResponseStorage {
        responses: Arc::clone(&state.responses),
        owner: caller.key,
        messages: conversation.messages[input_start..].to_vec(),
    });
    let mut left_out = conversation.left_out(&model.template);
    left_out.check(settings.strict)?;
    let tools = conversation.tools.clone();
    let prompt = prompt::conversation(&model, conversation, settings.special_tokens(), "input").await?;
    let mut plan = AnswerPlan::conversation(&model, &generation, tools, prompt, caller);
    plan.is_strict = settings.strict;
    let mut writer = ResponseWriter::new(&model, echo, generation.logprobs.is_some(), storage);
    let streams = generation.stream;
    let names = ParameterNames {
        prompt: "input",
        max_tokens: "max_output_tokens",
        constraint: generation.constraint,
    };
    left_out.extend(plan.left_out(&model, &names));
    let mut running = RunningAnswers::start(&state, model, plan, names).await?;
    drop(share);
    if streams {
        return Ok(left_out.name_in(stream(running, writer)));
    }
    while let Some((index, delta)) = running.next().await? {
        writer.delta(index, delta);
    }
    Ok(left_out.name_in(Json(writer.whole(running.counts())).into_response()))
}

/// Puts the messages of the stored response that the request continues before its own.
pub(super) fn with_stored_messages(
    state: &ServerState,
    request: &mut ResponseRequest,
    caller: Caller,
) -> Result<(), ApiError> {
    if let Some(id) = &request.previous {
        let before = state.responses.find(id, caller.key).ok_or_else(|| unknown_response(state, id))?;
        let start = request.input_start;
        drop(request.conversation.messages.splice(start..start, before));
    }
    Ok(())
}

fn unknown_response(state: &ServerState, id: &str) -> ApiError {
    let reason = match state.responses.is_on() {
        true => "it was never stored, or has made room for newer ones (--responses-memory)",
        false => "this server stores none (--responses-memory 0)",
    };
    let message = format!("there is no response `{id}`: {reason}; send the whole conversation as `input`");
    ApiError::invalid("previous_response_id", message).with_code("previous_response_not_found")
}
