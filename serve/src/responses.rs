//! `POST /v1/responses`, without state: everything the model is to know comes in the request.
//!
//! The same walk as a chat completion under other names. The whole answer is the last state of the streamed one.

mod answer;
mod request;

pub(crate) use request::ResponsesRequest;

use crate::answer::{Named, Running, Writer, stream};
use crate::error::ApiError;
use crate::handlers::several;
use crate::prompt;
use crate::server::{Body, Server};
use crate::tools::ToolPlan;
use crate::valid::Ending;
use answer::ResponseAnswer;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The handler.
pub(crate) async fn responses(
    State(server): State<Arc<Server>>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let request = ResponsesRequest::new(body, server.settings.lenient)?;
    let model = Arc::clone(server.model(&request.model)?);
    let ResponsesRequest { messages, tools, generation, echoed, .. } = request;
    let ids = prompt::conversation(&model, messages, tools.as_ref(), Ending::Assistant).await?;
    let asked = several(&model, &generation, tools, ids);
    let mut answer = ResponseAnswer::new(&model, echoed, generation.logprobs.is_some());
    let named = Named { prompt: "input", held: generation.held };
    let mut running = Running::start(&server, model, asked, named).await?;
    if generation.stream {
        return Ok(stream(running, answer));
    }
    while let Some((index, part)) = running.next().await? {
        answer.part(index, part);
    }
    Ok(Json(answer.whole(running.usage())).into_response())
}

/// A plan whose faults are named as this endpoint spells tools.
fn plan(
    tools: Option<&serde_json::Value>,
    choice: Option<&serde_json::Value>,
    parallel: bool,
    lenient: bool,
) -> Result<Option<ToolPlan>, ApiError> {
    ToolPlan::new(tools, choice, parallel, lenient).map_err(|error| {
        let flat =
            |param: String| param.replace("].function", "]").replace("tool_choice.function", "tool_choice");
        ApiError { param: error.param.map(flat), ..error }
    })
}
