//! One request inside mistral.rs: takes the logits of each step and says which token follows.
//!
//! mistral.rs lets a request bring a processor of logits, which sees them before anything else does. Ours chooses
//! the token itself and hands back logits that leave nothing else to choose. So sampling, seeds, constraints, stop
//! strings, log-probabilities and text are the native engine's, and nothing that mistral.rs says is shown to anyone.

use super::board::{Board, lock};
use ::mistralrs::{CustomLogitsProcessor, Result, Tensor};
use ::mistralrs_core::Response;
use engine::{Answering, Finish};
use smollm::Tokenizer;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

/// The request that mistral.rs steps, seen from our side.
pub(super) struct Steps {
    state: Mutex<State>,
    /// What mistral.rs sends. Only its faults are read; closing it is how a request is made to end.
    responses: Mutex<Receiver<Response>>,
    tokenizer: Arc<Tokenizer>,
    /// Plain text that is fed to a request that is over, until mistral.rs notices.
    filler: u32,
    board: Arc<Board>,
}

struct State {
    answering: Answering,
    /// Log-probabilities of the prompt so far; empty where they were not asked for.
    prompt: Vec<Option<engine::Logprobs>>,
    /// Positions whose keys and values mistral.rs holds.
    positions: usize,
}

impl Steps {
    pub(super) fn new(
        answering: Answering,
        responses: Receiver<Response>,
        tokenizer: Arc<Tokenizer>,
        filler: u32,
        board: Arc<Board>,
    ) -> Self {
        let prompt = if answering.request().prompt_logprobs.is_some() { vec![None] } else { Vec::new() };
        let state = Mutex::new(State { answering, prompt, positions: 0 });
        Self { state, responses: Mutex::new(responses), tokenizer, filler, board }
    }

    /// Waits until mistral.rs has let go of the request, and tells the caller if that came before its end.
    pub(super) async fn outcome(&self, gone: oneshot::Receiver<Infallible>) {
        while let Some(response) = poll_fn(|context| lock(&self.responses).poll_recv(context)).await {
            if let Some(reason) = fault(response) {
                lock(&self.state).answering.finish(Finish::Failed(reason));
            }
        }
        // It never comes; that it can come no more is the news.
        let _ = gone.await;
        let mut state = lock(&self.state);
        if state.answering.is_cancelled() {
            self.board.count_cancelled();
        }
        state.answering.finish(Finish::Failed("mistral.rs gave the request up before its end".to_owned()));
    }

    /// The token that follows `position` ids.
    fn next(&self, logits: &mut [f32], position: usize) -> u32 {
        let mut state = lock(&self.state);
        let held = std::mem::replace(&mut state.positions, position);
        self.board.hold_positions(position.saturating_sub(held));
        let id = state.next(logits, position, &self.tokenizer).unwrap_or(self.filler);
        if state.answering.is_over() {
            // The next thing that mistral.rs sends fails, and it drops this request alone.
            lock(&self.responses).close();
        }
        id
    }
}

impl State {
    fn next(&mut self, logits: &mut [f32], position: usize, tokenizer: &Tokenizer) -> Option<u32> {
        if self.answering.is_over() {
            return None;
        }
        let request = self.answering.request();
        let (max_tokens, length) = (request.max_tokens, request.prompt.len());
        if let Some(&id) = request.prompt.get(position) {
            // A prompt that is to be scored is fed token by token: mistral.rs gives only the last one's logits.
            self.prompt.push(self.answering.score(logits, id));
            if position + 1 == length && max_tokens == 0 {
                self.tell_of_prompt();
                self.answering.finish(Finish::Length);
            }
            return Some(id);
        }
        self.tell_of_prompt();
        self.answering.choose(logits, tokenizer)
    }

    fn tell_of_prompt(&mut self) {
        if !self.prompt.is_empty() {
            self.answering.prompt(std::mem::take(&mut self.prompt));
        }
    }
}

/// What mistral.rs holds of a request, for exactly as long as it holds its keys and values.
pub(super) struct Held {
    steps: Arc<Steps>,
    /// Dropped with this.
    _gone: oneshot::Sender<Infallible>,
}

impl Held {
    /// The second closes when mistral.rs lets go.
    pub(super) fn new(steps: Arc<Steps>) -> (Self, oneshot::Receiver<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        (Self { steps, _gone: sender }, receiver)
    }
}

impl CustomLogitsProcessor for Held {
    fn apply(&self, logits: &Tensor, context: &[u32]) -> Result<Tensor> {
        self.steps.board.step();
        let mut row = logits.to_vec1::<f32>()?;
        let id = self.steps.next(&mut row, context.len());
        row.fill(0.0);
        row[id as usize] = 1.0;
        Tensor::from_vec(row, logits.dims(), logits.device())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.steps.board.free_positions(lock(&self.steps.state).positions);
    }
}

/// Why mistral.rs could not go on, if that is what it says.
pub(super) fn fault(response: Response) -> Option<String> {
    match response {
        Response::InternalError(error) | Response::ValidationError(error) => Some(error.to_string()),
        Response::ModelError(reason, _) | Response::CompletionModelError(reason, _) => Some(reason),
        _ => None,
    }
}
