//! The engine's own thread: hands requests to mistral.rs, as many at once as may run, and waits for their ends.
//!
//! A request waits for its place out here, where it can still leave; inside mistral.rs it is stepped at least once.

use super::board::{Board, TellsOfEnd};
use super::loading::SharedPipeline;
use super::steps::{Held, Steps, fault};
use ::mistralrs::{CustomLogitsProcessor, Tensor};
use ::mistralrs_core::{
    DefaultSchedulerMethod, MistralRs, MistralRsBuilder, NormalRequest, Request as MistralRequest,
    RequestMessage, Response, SamplingParams, SchedulerConfig,
};
use anyhow::{anyhow, bail};
use engine::{Answering, Event, Finish};
use smollm::Tokenizer;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel};

/// Responses that may lie unread: one is sent a step, and they are read between steps.
const UNREAD_RESPONSES: usize = 64;

/// A request on its way in.
pub(super) struct Submission {
    pub(super) answering: Answering,
    /// Only to see whether the caller is still there while the request waits.
    pub(super) events: UnboundedSender<Event>,
}

/// mistral.rs with a model in it, to be given requests.
pub(super) struct Service {
    runtime: Runtime,
    client: Arc<Client>,
    vocab_size: usize,
}

impl Service {
    /// Starts mistral.rs and runs one token, which shows whether the model runs at all.
    pub(super) fn start(
        pipeline: SharedPipeline,
        tokenizer: &Tokenizer,
        places: NonZeroUsize,
        board: Arc<Board>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mistral = runtime.block_on(build(pipeline, places));
        let vocab_size = runtime.block_on(try_out(&mistral))?;
        let plain = |bytes: &Vec<u8>| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_lowercase);
        let filler = tokenizer.token_bytes().iter().take(vocab_size).position(plain).unwrap_or(0) as u32;
        let (tokenizer, places) = (Arc::new(tokenizer.clone()), Semaphore::new(places.get()));
        Ok(Self {
            runtime,
            client: Arc::new(Client { mistral, places, tokenizer, filler, board }),
            vocab_size,
        })
    }

    /// Logits a step gives (V).
    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Drop it where the thread ends.
    pub(super) fn tells_of_end(&self) -> TellsOfEnd {
        TellsOfEnd(Arc::clone(&self.client.board))
    }

    /// Serves until the engine that sends is dropped; mistral.rs ends with it.
    pub(super) fn run(self, mut submissions: UnboundedReceiver<Submission>) {
        self.runtime.block_on(async {
            while let Some(submission) = submissions.recv().await {
                tokio::spawn(Arc::clone(&self.client).serve(submission));
            }
        });
    }
}

/// What takes requests to mistral.rs and waits for them.
struct Client {
    mistral: Arc<MistralRs>,
    /// One for each request that may be inside mistral.rs; given out in the order they were asked for.
    places: Semaphore,
    tokenizer: Arc<Tokenizer>,
    filler: u32,
    board: Arc<Board>,
}

impl Client {
    async fn serve(self: Arc<Self>, Submission { mut answering, events }: Submission) {
        let place = tokio::select! {
            biased;
            () = events.closed() => None,
            place = self.places.acquire() => place.ok(),
        };
        drop(events);
        self.board.queue.leave(1);
        let Some(_place) = place else { return self.board.count_cancelled() };
        let _running = self.board.run();
        let request = answering.request();
        let prompt = match (request.prompt_logprobs, request.max_tokens) {
            (Some(_), 0) if request.prompt.len() == 1 => {
                answering.prompt(vec![None]);
                return answering.finish(Finish::Length);
            }
            (None, 0) => return answering.finish(Finish::Length),
            (Some(_), _) => request.prompt[..1].to_vec(),
            (None, _) => request.prompt.clone(),
        };
        let sender = match self.mistral.get_sender(None) {
            Ok(sender) => sender,
            Err(error) => {
                return answering.finish(Finish::Failed(format!("mistral.rs has stopped: {error}")));
            }
        };
        let (response, responses) = channel(UNREAD_RESPONSES);
        let board = Arc::clone(&self.board);
        let steps =
            Arc::new(Steps::new(answering, responses, Arc::clone(&self.tokenizer), self.filler, board));
        let (processor, gone) = Held::new(Arc::clone(&steps));
        let id = self.mistral.next_request_id();
        let request = plain_request(prompt, None, response, id, Arc::new(processor));
        // A request that could not be sent is dropped, and `outcome` sees that.
        let _ = sender.send(request).await;
        steps.outcome(gone).await;
    }
}

async fn build(pipeline: SharedPipeline, places: NonZeroUsize) -> Arc<MistralRs> {
    let method = DefaultSchedulerMethod::Fixed(places);
    let scheduler = SchedulerConfig::DefaultScheduler { method };
    // Answers end where we say, never where mistral.rs thinks they do.
    MistralRsBuilder::new(pipeline, scheduler, false, None)
        .with_no_prefix_cache(true)
        .with_disable_eos_stop(true)
        .build()
        .await
}

/// Runs one token; returns how many logits there are (V).
async fn try_out(mistral: &MistralRs) -> anyhow::Result<usize> {
    let width = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&width);
    let look = move |logits: &Tensor, _: &[u32]| -> ::mistralrs::Result<Tensor> {
        seen.store(logits.elem_count(), Ordering::Relaxed);
        Ok(logits.clone())
    };
    let (sender, mut responses) = channel(UNREAD_RESPONSES);
    let request = plain_request(vec![0], Some(1), sender, 0, Arc::new(look));
    let engine = mistral.get_sender(None).map_err(|error| anyhow!("{error}"))?;
    engine.send(request).await.map_err(|_| anyhow!("its engine has stopped"))?;
    while let Some(response) = responses.recv().await {
        if let Some(reason) = fault(response) {
            bail!(reason);
        }
    }
    match width.load(Ordering::Relaxed) {
        0 => bail!("it gave no logits"),
        width => Ok(width),
    }
}

/// A streamed request over ids whose every choice is the processor's.
fn plain_request(
    prompt: Vec<u32>,
    max_len: Option<usize>,
    response: Sender<Response>,
    id: usize,
    processor: Arc<dyn CustomLogitsProcessor>,
) -> MistralRequest {
    let sampling = SamplingParams { temperature: Some(0.0), max_len, ..SamplingParams::neutral() };
    let messages = RequestMessage::CompletionTokens(prompt);
    MistralRequest::Normal(Box::new(NormalRequest {
        is_streaming: true,
        logits_processors: Some(vec![processor]),
        ..NormalRequest::new_simple(messages, sampling, response, id, None, None)
    }))
}
