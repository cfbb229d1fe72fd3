//! Checkpoint in, tokens out: the [`Engine`] trait and the native engine, which runs on the CPU.
//!
//! A request holds token ids and sampling parameters; its results arrive as a stream of events, and dropping the stream
//! cancels the request. An answer never depends on what else runs: sums have one order whatever the batch (see the
//! `kernels` crate), and each request draws random numbers from its own seed.
//!
//! The [`Scorer`] computes log-probabilities of given continuations, without a queue and without sampling.

mod constraint;
mod decode;
mod engine;
mod event;
mod kv_cache;
mod lookup;
mod model;
mod native;
mod options;
mod prefix_cache;
mod queue;
mod request;
mod sampling;
mod scorer;
mod sequence;
mod text;
mod worker;

pub use constraint::{ConstraintCompiler, Guide, check_schema, narrowed};
pub use decode::Decoder;
pub use engine::{Engine, Status};
pub use event::{Answer, Done, Event, Events, Finish, Logprobs, PromptLogprobs, Token};
pub use kernels::{CacheFormat, WeightFormat, set_threads, threads};
pub use kv_cache::KvCache;
pub use model::{Chunk, LogitPositions, Model, widened_types};
pub use native::NativeEngine;
pub use options::Options;
pub use queue::Queue;
pub use request::{Constraint, Limits, Pooling, Request, RequestError, Sampling};
pub use scorer::{ContinuationScore, Scorer, ScoringRequest};
