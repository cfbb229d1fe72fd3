//! Calls as provider batches, in the shape of OpenAI's `/files` and `/batches`: half the price, hours later.
//!
//! Rows run until each waits for an answer; the calls that have gathered are then sent as one batch. The store records a
//! batch before its file is uploaded, the file before the batch is made, and the batch before anyone waits for it, so a
//! restart finds it again and none is submitted twice.

mod driver;
mod files;
mod provider;

pub(super) use files::MAX_CALLS;

use super::attempts::Unanswered;
use super::call::{CallContext, CallError};
use super::endpoints::Endpoints;
use super::worst_case::WorstCase;
use crate::run::Run;
use crate::store::Reply;
use anyhow::anyhow;
use driver::{Driver, WaitingCall};
use provider::Provider;
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The batches of one model. Their driver starts with the first call.
pub(super) struct Batches {
    model: String,
    endpoints: Arc<Endpoints>,
    client: reqwest::Client,
    patience: Duration,
    poll: Duration,
    driver: OnceLock<mpsc::UnboundedSender<WaitingCall>>,
}

impl Batches {
    /// Batches at the first endpoint, which are looked at every `poll`.
    pub(super) fn new(
        model: &str,
        endpoints: Arc<Endpoints>,
        client: reqwest::Client,
        patience: Duration,
        poll: Duration,
    ) -> Self {
        Self { model: model.to_owned(), endpoints, client, patience, poll, driver: OnceLock::new() }
    }

    /// Adds a call to the next batch and waits for its answer.
    pub(super) async fn answer(
        &self,
        context: CallContext<'_>,
        path: &'static str,
        body: Value,
        worst_case: WorstCase,
    ) -> Result<Reply, Unanswered> {
        let worst_cost = context.run.cost(&self.model, worst_case.prompt, worst_case.completion, true);
        let _reserved = context.run.reserve(worst_cost).await.ok_or(CallError::Stopped)?;
        let driver = self.driver.get_or_init(|| self.start(context.run));
        let (answer, wait) = oneshot::channel();
        let call =
            WaitingCall { key: *context.key, step: context.step.to_owned(), path, body, worst_case, answer };
        driver.send(call).map_err(|_| anyhow!("the batches have stopped"))?;
        wait.await.map_err(|_| anyhow!("the batches have stopped"))?
    }

    fn start(&self, run: &Arc<Run>) -> mpsc::UnboundedSender<WaitingCall> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let provider = Provider {
            endpoints: Arc::clone(&self.endpoints),
            client: self.client.clone(),
            patience: self.patience,
            poll: self.poll,
        };
        tokio::spawn(Driver::new(&self.model, provider, self.poll, Arc::clone(run)).drive(receiver));
        sender
    }
}
