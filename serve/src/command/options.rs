//! The options of `smolserve`, and what they make of the server.

mod values;

use super::log::{self, LogLevel};
use super::served_models::{ServedFolder, ServedModels};
use crate::model::{EngineKind, LoadOptions};
use crate::origins::{Hosts, Origins, is_loopback};
use crate::state::ServerSettings;
use anyhow::{Context, Result, bail};
use axum::http::HeaderValue;
use clap::ValueEnum;
use engine::{CacheFormat, WeightFormat};
use std::path::PathBuf;
use std::time::Duration;
use values::{at_least_one, base_path, bytes, bytes_or_none, seconds, share_of_memory};

/// Models of `--models` that are counted on to be loaded together; further ones take memory as there is.
const FOLDER_MODELS: usize = 2;

/// Serve language models over an OpenAI-compatible HTTP API
#[derive(Debug, clap::Parser)]
#[command(name = "smolserve", version, after_help = terminal::shell::HELP)]
pub struct Options {
    /// Model to serve: a checkpoint folder, a GGUF file or a Hugging Face id, with its name for clients; repeat for
    /// several
    #[arg(long, value_name = "[NAME=]FOLDER_FILE_OR_ID")]
    model: Vec<String>,
    /// LoRA adapter to serve as a model of this name: a folder with adapter_config.json; repeat for several. All adapters
    /// share the weights of their base model, which is loaded once: the one that they were trained over, or the --model that
    /// is named after @
    #[arg(long, value_name = "NAME[@MODEL]=FOLDER")]
    adapter: Vec<String>,
    /// Sentence encoder for /v1/embeddings: the checkpoint folder of a BERT-family model such as all-MiniLM-L6-v2, with its
    /// name for clients; repeat for several
    #[arg(long, value_name = "[NAME=]FOLDER")]
    encoder: Vec<String>,
    /// Folder of models that are loaded when a request names them: checkpoint folders and GGUF files
    #[arg(long, value_name = "FOLDER")]
    models: Option<PathBuf>,
    /// Time without requests after which a model of --models is unloaded, in seconds; 0 for never
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    unload_after: Duration,
    /// Another name of a model for clients; repeat for several
    #[arg(long, value_name = "NAME=MODEL")]
    alias: Vec<String>,
    /// Address to listen on; 0.0.0.0 for all addresses of this machine
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Port to listen on; 0 for a free one
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// Listen on a Unix socket instead of an address; its file's permissions say who can connect
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    pub(super) unix_socket: Option<PathBuf>,
    /// First part of all paths, for a proxy that passes it on, such as /llm; the paths without it work, too
    #[arg(long, value_name = "PREFIX", value_parser = base_path)]
    base_path: Option<String>,
    /// Engine that runs the models
    #[arg(long, value_enum, default_value_t = EngineKind::Native)]
    engine: EngineKind,
    /// Data type of the weights; auto is the checkpoint's own
    #[arg(long, value_enum, default_value_t = Precision::Auto, conflicts_with = "quantize")]
    dtype: Precision,
    /// Quantize the weights to 8 or 4 bits
    #[arg(long, value_enum)]
    quantize: Option<Quantized>,
    /// Data type of keys and values [default: f16; f32 when the weights are f32]
    #[arg(long, value_enum)]
    cache_type: Option<CacheType>,
    /// Memory for keys and values of each model [default: 4GiB, or each model's share of a quarter of the free memory]
    #[arg(long, value_parser = bytes)]
    cache_bytes: Option<usize>,
    /// Maximum number of answers that run together, per model
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    max_sequences: usize,
    /// Maximum number of waiting requests, per model; further requests get status 429
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    max_waiting: usize,
    /// Number of compute threads, for all models together [default: all of the machine's]
    #[arg(long, value_parser = at_least_one)]
    threads: Option<usize>,
    /// Do not keep keys and values for prompts that begin alike
    #[arg(long)]
    no_prefix_reuse: bool,
    /// Maximum number of tokens of an answer that are guessed in a step, from what its prompt and itself repeat and from what
    /// a constraint leaves no choice of; 0 guesses none. Answers are the same
    #[arg(long, value_name = "TOKENS", default_value_t = engine::Options::default().guessed_tokens)]
    guessed_tokens: usize,
    /// Maximum time of one answer, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    request_timeout: Option<Duration>,
    /// API key that clients must send; repeat for several. Other users of the machine can read it in the list of
    /// processes: prefer --api-key-file
    #[arg(long, env = "SMOLSERVE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Vec<String>,
    /// File with API keys that clients must send, one on each line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Origin of web pages that may call the server, beside those of this machine; repeat for several, * for any
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Name that the server may be called by in the Host header, beside localhost, addresses and --host; repeat for
    /// several, * for any. With an API key any name will do
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    /// Let clients with different API keys reuse one another's keys and values. Each can then find out what others sent
    #[arg(long)]
    share_prefixes: bool,
    /// Read special tokens in messages as text, for applications that pass on what strangers write
    #[arg(long)]
    special_tokens_as_text: bool,
    /// Return embeddings as the model gives them, instead of vectors of length 1
    #[arg(long)]
    embeddings_raw: bool,
    /// Maximum size of a request's body
    #[arg(long, default_value = "4MiB", value_parser = bytes)]
    body_limit: usize,
    /// Memory for the bodies of all requests that are being read and prepared; further ones get status 503
    #[arg(long, default_value = "512MiB", value_parser = bytes)]
    bodies_memory: usize,
    /// Memory for conversations that /v1/responses can continue by previous_response_id; 0 stores none
    #[arg(long, default_value = "64MiB", value_parser = bytes_or_none)]
    responses_memory: usize,
    /// Maximum number of open connections; beyond it, idle ones are closed
    #[arg(long, default_value_t = 1024, value_parser = at_least_one)]
    max_connections: usize,
    /// Time that running answers have to end after SIGINT or SIGTERM, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    shutdown_timeout: Duration,
    /// Time after which a step of an engine makes /health report 503, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    stuck_after: Duration,
    /// Jinja chat template to use instead of the models' own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Ignore parameters that no endpoint has, instead of refusing them; a constraint is never ignored
    #[arg(long, conflicts_with = "strict")]
    lenient: bool,
    /// Refuse a request that would be cut or of which a part has no effect, such as a `max_tokens` beyond the context
    #[arg(long)]
    strict: bool,
    /// Level of the log on standard error: error, warn, info (one line per request), debug, trace, off, or a filter such
    /// as warn,serve=debug
    #[arg(long, env = "RUST_LOG", default_value = "info", value_parser = log::level)]
    pub(super) log_level: LogLevel,
    /// Load the models, generate one token with each, and exit
    #[arg(long)]
    pub(super) check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    Auto,
    F32,
    Bf16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Quantized {
    #[value(name = "q8_0")]
    Q8,
    #[value(name = "q4_0")]
    Q4,
    #[value(name = "q4_1")]
    Q4WithMinimum,
    #[value(name = "q5_0")]
    Q5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CacheType {
    F16,
    Bf16,
    F32,
}

impl Options {
    /// The models to serve, each with a name of its own.
    pub(super) fn models(&self) -> Result<ServedModels> {
        if let (Some(adapter), EngineKind::Mistralrs) = (self.adapter.first(), self.engine) {
            bail!(
                "`--adapter {adapter}` only works with the native engine; use `--engine native`, or merge the adapter with \
                 `posttrain merge`"
            );
        }
        let folder = self.models.clone().map(|path| ServedFolder {
            path,
            unload_after: (!self.unload_after.is_zero()).then_some(self.unload_after),
        });
        ServedModels::new(&self.model, &self.adapter, &self.encoder, folder, &self.alias)
    }

    /// How models are loaded and run.
    pub(super) fn load(&self, models: &ServedModels) -> Result<LoadOptions> {
        // An adapter shares the memory of its base model.
        let engines = models.groups.len() + if self.models.is_some() { FOLDER_MODELS } else { 0 };
        let weights = match (self.quantize, self.dtype) {
            (Some(Quantized::Q8), _) => Some(WeightFormat::Q8_0),
            (Some(Quantized::Q4), _) => Some(WeightFormat::Q4_0),
            (Some(Quantized::Q4WithMinimum), _) => Some(WeightFormat::Q4_1),
            (Some(Quantized::Q5), _) => Some(WeightFormat::Q5_0),
            (None, Precision::Auto) => None,
            (None, Precision::F32) => Some(WeightFormat::F32),
            (None, Precision::Bf16) => Some(WeightFormat::Bf16),
        };
        let cache = self.cache_type.map(|cache| match cache {
            CacheType::F16 => CacheFormat::F16,
            CacheType::Bf16 => CacheFormat::Bf16,
            CacheType::F32 => CacheFormat::F32,
        });
        Ok(LoadOptions {
            engine: self.engine,
            weights,
            cache,
            cache_bytes: self.cache_bytes,
            default_cache_bytes: share_of_memory(files::memory::available(), engines),
            max_sequences: self.max_sequences,
            max_waiting: self.max_waiting,
            threads: self.threads,
            reuse_prefixes: !self.no_prefix_reuse,
            guessed_tokens: self.guessed_tokens,
            chat_template: self.chat_template.clone(),
        })
    }

    /// The API keys of all options. Errors never contain one.
    fn api_keys(&self) -> Result<Vec<String>> {
        let bad =
            |key: &String| key.is_empty() || key.trim() != key.as_str() || key.contains(char::is_control);
        if self.api_key.iter().any(bad) {
            bail!(
                "an API key (`--api-key`, SMOLSERVE_API_KEY) is empty or has spaces or line ends; give the key alone"
            );
        }
        let mut keys = self.api_key.clone();
        if let Some(file) = &self.api_key_file {
            let text = std::fs::read_to_string(file).with_context(|| {
                format!("cannot read the API keys in {} (`--api-key-file`)", file.display())
            })?;
            let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
            keys.extend(lines.into_iter().filter(|line| !line.is_empty()));
            if keys.is_empty() {
                bail!("{} has no API key (`--api-key-file`); write one on each line", file.display());
            }
        }
        Ok(keys)
    }

    /// What is wrong with an address that others can reach.
    pub(super) fn exposure(&self) -> Option<String> {
        let has_keys = !self.api_key.is_empty() || self.api_key_file.is_some();
        (!has_keys && self.unix_socket.is_none() && !is_loopback(&self.host)).then(|| {
            format!(
                "everyone who can reach {}:{} can use this server; give `--api-key-file FILE`, or `--host 127.0.0.1`",
                self.host, self.port
            )
        })
    }

    /// How requests are treated.
    pub(super) fn settings(&self) -> Result<ServerSettings> {
        let origin = |origin: &String| match HeaderValue::from_str(origin) {
            Ok(_) if origin.contains("://") => Ok(origin.clone()),
            _ => bail!("`--cors` {origin:?} is not an origin; give one such as `https://example.org`"),
        };
        let origins = if self.cors.iter().any(|origin| origin == "*") {
            Origins::Any
        } else {
            Origins::Listed(self.cors.iter().map(origin).collect::<Result<_>>()?)
        };
        let hosts = if self.allowed_host.iter().any(|host| host == "*") {
            Hosts::Any
        } else {
            let names = self.allowed_host.iter().chain([&self.host]);
            Hosts::Listed(names.map(|name| name.to_ascii_lowercase()).collect())
        };
        Ok(ServerSettings {
            lenient: self.lenient,
            strict: self.strict,
            base_path: self.base_path.clone(),
            api_keys: self.api_keys()?,
            origins,
            hosts,
            share_prefixes: self.share_prefixes,
            special_tokens_as_text: self.special_tokens_as_text,
            raw_embeddings: self.embeddings_raw,
            body_limit: self.body_limit,
            bodies_memory: self.bodies_memory,
            responses_memory: self.responses_memory,
            max_connections: self.max_connections,
            request_timeout: self.request_timeout,
            shutdown_timeout: self.shutdown_timeout,
            stuck_after: self.stuck_after,
        })
    }
}

#[cfg(test)]
mod tests;
