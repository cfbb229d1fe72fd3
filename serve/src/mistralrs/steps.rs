//! One request inside mistral.rs: takes the logits of each step and chooses the next token.
//!
//! mistral.rs lets a request bring a processor of logits, which sees them first. Ours chooses the token itself and
//! returns logits that allow no other. So sampling, seeds, constraints, stop strings, log-probabilities and text are those
//! of the native engine, and no client sees what mistral.rs writes.

use super::status::{SharedStatus, lock};
use ::mistralrs::{CustomLogitsProcessor, Result, Tensor};
use ::mistralrs_core::Response;
use checkpoint::Tokenizer;
use engine::{Decoder, Finish};
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

/// Our side of a request that mistral.rs runs.
pub(super) struct Steps {
    state: Mutex<State>,
    /// What mistral.rs sends. Only its errors are read; closing the channel ends the request.
    responses: Mutex<Receiver<Response>>,
    tokenizer: Arc<Tokenizer>,
    /// The token that an ended request gets until mistral.rs notices its end.
    filler: u32,
    status: Arc<SharedStatus>,
}

struct State {
    decoder: Decoder,
    /// Log-probabilities of the prompt so far; empty where the request does not ask for them.
    prompt: Vec<Option<engine::Logprobs>>,
    /// Positions whose keys and values mistral.rs has in memory.
    positions: usize,
}

impl Steps {
    pub(super) fn new(
        decoder: Decoder,
        responses: Receiver<Response>,
        tokenizer: Arc<Tokenizer>,
        filler: u32,
        status: Arc<SharedStatus>,
    ) -> Self {
        let prompt = if decoder.request().prompt_logprobs.is_some() { vec![None] } else { Vec::new() };
        let state = Mutex::new(State { decoder, prompt, positions: 0 });
        Self { state, responses: Mutex::new(responses), tokenizer, filler, status }
    }

    /// Waits until mistral.rs has released the request, and fails the request if that came before its end.
    pub(super) async fn outcome(&self, released: oneshot::Receiver<Infallible>) {
        while let Some(response) = poll_fn(|context| lock(&self.responses).poll_recv(context)).await {
            if let Some(reason) = fault(response) {
                lock(&self.state).decoder.finish(Finish::Failed(reason));
            }
        }
        // Nothing is ever sent; the channel closes when mistral.rs drops the processor.
        let _ = released.await;
        let mut state = lock(&self.state);
        if state.decoder.is_cancelled() {
            self.status.count_cancelled();
        }
        state.decoder.finish(Finish::Failed("mistral.rs dropped the request before its end".to_owned()));
    }

    /// Chooses the token that follows `position` ids.
    fn next(&self, logits: &mut [f32], position: usize) -> u32 {
        let mut state = lock(&self.state);
        let held = std::mem::replace(&mut state.positions, position);
        self.status.hold_positions(position.saturating_sub(held));
        let id = state.next(logits, position, &self.tokenizer).unwrap_or(self.filler);
        if state.decoder.is_over() {
            // The next response of mistral.rs cannot be sent, and it drops this request only.
            lock(&self.responses).close();
        }
        id
    }
}

impl State {
    fn next(&mut self, logits: &mut [f32], position: usize, tokenizer: &Tokenizer) -> Option<u32> {
        if self.decoder.is_over() {
            return None;
        }
        let request = self.decoder.request();
        let (max_tokens, length) = (request.max_tokens, request.prompt.len());
        if let Some(&id) = request.prompt.get(position) {
            // A scored prompt is fed token by token: mistral.rs returns the logits of the last token only.
            self.prompt.push(self.decoder.score(logits, id));
            if position + 1 == length && max_tokens == 0 {
                self.send_prompt_scores();
                self.decoder.finish(Finish::Length);
            }
            return Some(id);
        }
        self.send_prompt_scores();
        self.decoder.choose(logits, tokenizer)
    }

    fn send_prompt_scores(&mut self) {
        if !self.prompt.is_empty() {
            self.decoder.send_prompt_logprobs(std::mem::take(&mut self.prompt));
        }
    }
}

/// The processor that mistral.rs keeps for exactly as long as the request's keys and values.
pub(super) struct StepProcessor {
    steps: Arc<Steps>,
    /// Dropped with the processor.
    _released: oneshot::Sender<Infallible>,
}

impl StepProcessor {
    /// A processor, and a receiver that closes when mistral.rs drops it.
    pub(super) fn new(steps: Arc<Steps>) -> (Self, oneshot::Receiver<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        (Self { steps, _released: sender }, receiver)
    }
}

impl CustomLogitsProcessor for StepProcessor {
    fn apply(&self, logits: &Tensor, context: &[u32]) -> Result<Tensor> {
        self.steps.status.step();
        let mut row = logits.to_vec1::<f32>()?;
        let id = self.steps.next(&mut row, context.len());
        row.fill(0.0);
        row[id as usize] = 1.0;
        Tensor::from_vec(row, logits.dims(), logits.device())
    }
}

impl Drop for StepProcessor {
    fn drop(&mut self) {
        self.steps.status.free_positions(lock(&self.steps.state).positions);
    }
}

/// The error in a response, if it is one.
pub(super) fn fault(response: Response) -> Option<String> {
    match response {
        Response::InternalError(error) | Response::ValidationError(error) => Some(error.to_string()),
        Response::ModelError(reason, _) | Response::CompletionModelError(reason, _) => Some(reason),
        _ => None,
    }
}
