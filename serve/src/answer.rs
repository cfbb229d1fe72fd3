//! From an engine's events to what a client reads.
//!
//! All answers of a request run together as [`RunningAnswers`]. Its deltas are the only source of both the streamed and
//! the whole answer, so the two cannot differ. Dropping it cancels everything that still runs.

mod chat;
mod chunks;
mod collect;
mod completion;
mod logprobs;
mod plan;
mod response;
mod returned_ids;
mod running;
mod shared;
mod stream;
mod thinking;

pub(crate) use chat::ChatWriter;
pub(crate) use collect::collect;
pub(crate) use completion::CompletionWriter;
pub(crate) use plan::{AnswerPlan, ParameterNames};
pub(crate) use response::{ResponseStorage, ResponseWriter};
pub(crate) use running::RunningAnswers;
pub(crate) use stream::{IsStream, StreamWriter, stream};
