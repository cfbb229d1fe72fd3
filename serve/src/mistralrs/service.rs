//! The engine's thread: passes requests to mistral.rs, as many at once as may run, and waits for their ends.
//!
//! A request waits for its permit here, where it can still be cancelled; inside mistral.rs it takes at least one step.

use super::loading::SharedPipeline;
use super::status::{SharedStatus, StopGuard};
use super::steps::{StepProcessor, Steps, fault};
use ::mistralrs::{CustomLogitsProcessor, Tensor};
use ::mistralrs_core::{
    DefaultSchedulerMethod, MistralRs, MistralRsBuilder, NormalRequest, Request as MistralRequest,
    RequestMessage, Response, SamplingParams, SchedulerConfig,
};
use anyhow::{anyhow, bail};
use checkpoint::Tokenizer;
use engine::{Decoder, Event, Finish};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel};

/// Responses that may be unread: one is sent per step, and they are read between steps.
const UNREAD_RESPONSES: usize = 64;

/// A submitted request.
pub(super) struct Submission {
    pub(super) decoder: Decoder,
    /// Shows whether the caller still reads while the request waits.
    pub(super) events: UnboundedSender<Event>,
}

/// mistral.rs with a model, ready for requests.
pub(super) struct Service {
    runtime: Runtime,
    client: Arc<Client>,
    vocab_size: usize,
}

impl Service {
    /// Starts mistral.rs and generates one token, which shows whether the model runs.
    pub(super) fn start(
        pipeline: SharedPipeline,
        tokenizer: &Tokenizer,
        permits: NonZeroUsize,
        status: Arc<SharedStatus>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mistral = runtime.block_on(build(pipeline, permits));
        let vocab_size = runtime.block_on(try_out(&mistral))?;
        let plain = |bytes: &Vec<u8>| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_lowercase);
        let filler = tokenizer.token_bytes().iter().take(vocab_size).position(plain).unwrap_or(0) as u32;
        let (tokenizer, permits) = (Arc::new(tokenizer.clone()), Semaphore::new(permits.get()));
        Ok(Self {
            runtime,
            client: Arc::new(Client { mistral, permits, tokenizer, filler, status }),
            vocab_size,
        })
    }

    /// Number of logits of a step (V).
    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// A guard to be dropped when the engine's thread ends.
    pub(super) fn stop_guard(&self) -> StopGuard {
        StopGuard(Arc::clone(&self.client.status))
    }

    /// Serves until the sending engine is dropped; mistral.rs ends with it.
    pub(super) fn run(self, mut submissions: UnboundedReceiver<Submission>) {
        self.runtime.block_on(async {
            while let Some(submission) = submissions.recv().await {
                tokio::spawn(Arc::clone(&self.client).serve(submission));
            }
        });
    }
}

/// Passes requests to mistral.rs and waits for their ends.
struct Client {
    mistral: Arc<MistralRs>,
    /// One per request that may be inside mistral.rs; given in the order of the requests.
    permits: Semaphore,
    tokenizer: Arc<Tokenizer>,
    filler: u32,
    status: Arc<SharedStatus>,
}

impl Client {
    async fn serve(self: Arc<Self>, Submission { mut decoder, events }: Submission) {
        let permit = tokio::select! {
            biased;
            () = events.closed() => None,
            permit = self.permits.acquire() => permit.ok(),
        };
        drop(events);
        self.status.queue.leave(decoder.request().client);
        let Some(_permit) = permit else { return self.status.count_cancelled() };
        decoder.begin();
        let _running = self.status.run();
        let request = decoder.request();
        let prompt = match (request.prompt_logprobs, request.max_tokens) {
            (Some(_), 0) if request.prompt.len() == 1 => {
                decoder.send_prompt_logprobs(vec![None]);
                return decoder.finish(Finish::Length);
            }
            (None, 0) => return decoder.finish(Finish::Length),
            (Some(_), _) => request.prompt[..1].to_vec(),
            (None, _) => request.prompt.clone(),
        };
        let sender = match self.mistral.get_sender(None) {
            Ok(sender) => sender,
            Err(error) => {
                return decoder.finish(Finish::Failed(format!("mistral.rs has stopped: {error}")));
            }
        };
        let (response, responses) = channel(UNREAD_RESPONSES);
        let status = Arc::clone(&self.status);
        let steps =
            Arc::new(Steps::new(decoder, responses, Arc::clone(&self.tokenizer), self.filler, status));
        let (processor, released) = StepProcessor::new(Arc::clone(&steps));
        let id = self.mistral.next_request_id();
        let request = plain_request(prompt, None, response, id, Arc::new(processor));
        // A request that cannot be sent is dropped, which `outcome` notices.
        let _ = sender.send(request).await;
        steps.outcome(released).await;
    }
}

async fn build(pipeline: SharedPipeline, permits: NonZeroUsize) -> Arc<MistralRs> {
    let method = DefaultSchedulerMethod::Fixed(permits);
    let scheduler = SchedulerConfig::DefaultScheduler { method };
    // `Decoder` ends the answers, never mistral.rs.
    MistralRsBuilder::new(pipeline, scheduler, false, None)
        .with_no_prefix_cache(true)
        .with_disable_eos_stop(true)
        .build()
        .await
}

/// Generates one token; returns the number of logits (V).
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
        0 => bail!("it returned no logits"),
        width => Ok(width),
    }
}

/// A streamed request of token ids whose processor chooses every token.
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
