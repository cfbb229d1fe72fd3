//! Tests of the server as a whole: over HTTP, in this process, against a scripted engine and a real model.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod behaviour;
mod client;
mod scripted;
mod stories;
