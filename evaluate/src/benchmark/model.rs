//! Who is asked: a checkpoint or an endpoint.

use super::endpoint::EndpointModel;
use super::job::Job;
use super::native::NativeModel;
use super::options::Options;
use super::prepare::PreparedTask;
use super::record::Record;
use anyhow::Result;
use serde_json::Value;
use terminal::Stop;

/// A model that is evaluated.
pub(super) enum Model {
    Native(Box<NativeModel>),
    Endpoint(EndpointModel),
}

impl Model {
    /// Opens a checkpoint, or the endpoint of a URL.
    ///
    /// # Errors
    /// Names what is wrong with the location or the options.
    pub(super) fn open(location: &str, options: &Options) -> Result<Self> {
        Ok(match location.starts_with("http://") || location.starts_with("https://") {
            true => Self::Endpoint(EndpointModel::open(location, options)?),
            false => Self::Native(Box::new(NativeModel::open(location, options)?)),
        })
    }

    /// What a reader of its figures should know.
    pub(super) fn notes(&self) -> Vec<String> {
        match self {
            Self::Native(model) => model.notes(),
            Self::Endpoint(_) => Vec::new(),
        }
    }

    /// What the results say about the model and how it was asked.
    pub(super) fn description(&self, options: &Options) -> Value {
        match self {
            Self::Native(model) => model.description(options),
            Self::Endpoint(model) => model.description(),
        }
    }

    /// A task as this model is asked.
    pub(super) fn job<'a>(&self, prepared: &'a PreparedTask) -> Result<Job<'a>> {
        match self {
            Self::Native(model) => model.job(prepared),
            Self::Endpoint(model) => model.job(prepared),
        }
    }

    /// Answers the documents with these indices and hands each record over as soon as it is scored.
    pub(super) fn score(
        &mut self,
        job: &Job<'_>,
        missing: &[usize],
        stop: &Stop,
        finish: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Native(model) => model.score(job, missing, stop, finish),
            Self::Endpoint(model) => model.score(job, missing, stop, finish),
        }
    }
}
