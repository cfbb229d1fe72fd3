//! Checkpoint -> tokens: the [`Engine`] trait and the native engine.
//!
//! Token ids and sampling go in, a stream of events comes out; dropping the stream cancels the work. An
//! answer never depends on what else runs: the arithmetic sums in one order whatever the batch (see the
//! `kernels` room) and each request draws from its own seed.

mod answering;
mod cache;
mod constraint;
mod model;
mod native;
mod prefix;
mod queue;
mod request;
mod sampling;
mod sequence;
mod text;

pub use answering::Answering;
pub use cache::KvCache;
pub use constraint::{Compiler, Guide, enforceable, json_style};
pub use kernels::{CacheFormat, WeightFormat, set_threads, threads};
pub use model::{Chunk, LogitsOf, Model};
pub use native::{NativeEngine, Options};
pub use queue::Queue;
pub use request::{
    Answer, Constraint, Done, Event, Events, Finish, Limits, Logprobs, PromptLogprobs, Refused, Request,
    Sampling, Status, Token,
};

/// Something that continues token ids.
pub trait Engine: Send + Sync {
    /// What a request may ask for.
    fn limits(&self) -> Limits;

    /// Starts a request; its events arrive on the stream, and dropping the stream cancels it.
    ///
    /// # Errors
    /// Says which value of the request cannot be honoured.
    fn submit(&self, request: Request) -> Result<Events, Refused>;

    /// What it is doing now.
    fn status(&self) -> Status;
}
