//! The command line, and what its values mean.

use crate::memory;
use crate::model::{EngineKind, LoadOptions, Source};
use crate::server::Settings;
use anyhow::{Result, bail};
use axum::http::HeaderValue;
use clap::ValueEnum;
use engine::{CacheFormat, WeightFormat};
use std::path::PathBuf;
use std::time::Duration;

/// Serve language models over HTTP, in OpenAI's shape.
#[derive(Debug, clap::Parser)]
#[command(name = "smolserve", version)]
pub struct Options {
    /// A model to serve: a checkpoint folder or a hub id, with the name clients call it by; repeat for several
    /// [default: what the last quickstart trained, or pocket-instruct]
    #[arg(long, value_name = "[NAME=]FOLDER_OR_ID")]
    model: Vec<String>,
    /// The address to listen on; 0.0.0.0 for every one of this machine
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// What runs the models
    #[arg(long, value_enum, default_value_t = EngineKind::Native)]
    engine: EngineKind,
    /// How weights are held: as the checkpoint stores them, or widened or rounded
    #[arg(long, value_enum, default_value_t = Precision::Auto, conflicts_with = "quantize")]
    dtype: Precision,
    /// Hold weights in 8 or 4 bits
    #[arg(long, value_enum)]
    quantize: Option<Quantized>,
    /// How keys and values are held [default: f16; f32 when the weights are f32]
    #[arg(long, value_enum)]
    cache_type: Option<CacheType>,
    /// Memory for keys and values, of each model [default: 4GiB, or what a quarter of the free memory gives each]
    #[arg(long, value_parser = bytes)]
    cache_bytes: Option<usize>,
    /// The most answers that run together, of each model
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    max_sequences: usize,
    /// The most requests that wait for their turn; one more is told to try later (429)
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    max_waiting: usize,
    /// Threads that compute, for all models together [default: as many as the machine gives]
    #[arg(long, value_parser = at_least_one)]
    threads: Option<usize>,
    /// Keep no keys and values for prompts that begin alike
    #[arg(long)]
    no_prefix_reuse: bool,
    /// End an answer that takes longer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    request_timeout: Option<Duration>,
    /// A key that clients must send; repeat for several
    #[arg(long, env = "SMOLSERVE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Vec<String>,
    /// A web page's origin that may call the server; repeat for several [default: any]
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// The largest body of a request
    #[arg(long, default_value = "4MiB", value_parser = bytes)]
    body_limit: usize,
    /// How long running answers may go on after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    shutdown_timeout: Duration,
    /// /health says 503 when one step of an engine takes longer
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    stuck_after: Duration,
    /// A Jinja chat template to use instead of the models' own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Ignore parameters that no endpoint knows, instead of refusing them
    #[arg(long)]
    lenient: bool,
    /// Load the models, let each say one token, and exit
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CacheType {
    F16,
    Bf16,
    F32,
}

impl Options {
    /// The models asked for, each under a name of its own.
    pub(super) fn sources(&self) -> Result<Vec<Source>> {
        let named = if self.model.is_empty() { vec![default_model()?] } else { self.model.clone() };
        let mut sources: Vec<Source> = Vec::new();
        for argument in &named {
            let source = Source::new(argument).map_err(|reason| anyhow::anyhow!("--model {reason}"))?;
            if sources.iter().any(|other| other.name == source.name) {
                bail!(
                    "two models are called {}: name one with --model NAME={}",
                    source.name,
                    source.location
                );
            }
            sources.push(source);
        }
        Ok(sources)
    }

    /// How models are loaded and run.
    pub(super) fn load(&self) -> Result<LoadOptions> {
        let weights = match (self.quantize, self.dtype) {
            (Some(Quantized::Q8), _) => Some(WeightFormat::Q8_0),
            (Some(Quantized::Q4), _) => Some(WeightFormat::Q4_0),
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
            default_cache_bytes: share_of_memory(memory::available(), self.model.len()),
            max_sequences: self.max_sequences,
            max_waiting: self.max_waiting,
            threads: self.threads,
            reuse_prefixes: !self.no_prefix_reuse,
            chat_template: self.chat_template.clone(),
        })
    }

    /// How requests are treated.
    pub(super) fn settings(&self) -> Result<Settings> {
        if let Some(key) = self.api_key.iter().find(|key| key.is_empty() || key.trim() != key.as_str()) {
            bail!("--api-key {key:?} is empty or has spaces around it");
        }
        let origin = |origin: &String| match HeaderValue::from_str(origin) {
            Ok(value) if origin.contains("://") => Ok(value),
            _ => bail!("--cors {origin:?} is not an origin such as https://example.org"),
        };
        let any = self.cors.is_empty() || self.cors == ["*"];
        Ok(Settings {
            lenient: self.lenient,
            api_keys: self.api_key.clone(),
            origins: if any { Vec::new() } else { self.cors.iter().map(origin).collect::<Result<_>>()? },
            body_limit: self.body_limit,
            request_timeout: self.request_timeout,
            shutdown_timeout: self.shutdown_timeout,
            stuck_after: self.stuck_after,
        })
    }
}

/// Memory for keys and values of one of several models, where nothing else was said: what can be had also holds
/// the weights, and other programs.
fn share_of_memory(available: Option<usize>, models: usize) -> usize {
    const MOST: usize = 4 << 30;
    available.map_or(MOST, |bytes| (bytes / 4 / models.max(1)).min(MOST))
}

/// A size such as `4GiB`, `512MB` or `1048576`.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit: f64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{text}` is not a size such as 4GiB or 512MB")),
    };
    match text[..digits].parse::<f64>() {
        Ok(number) if number * unit >= 1.0 && number * unit < 9e15 => Ok((number * unit) as usize),
        _ => Err(format!("`{text}` is not a size such as 4GiB or 512MB")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|seconds| (0.0..=1e9).contains(seconds));
    number.map(Duration::from_secs_f64).ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{text}` is not a whole number above 0"))
}

/// What is served when nothing was named: what the last quickstart trained, or the model that ships with the project.
fn default_model() -> Result<String> {
    let Some(models) = smollm::checkpoint::models() else {
        bail!(
            "no model: pass --model FOLDER, or a hub id such as --model HuggingFaceTB/SmolLM2-135M-Instruct"
        );
    };
    let trained = std::fs::read_to_string(models.join("last-quickstart")).unwrap_or_default();
    let folder = PathBuf::from(trained.trim());
    if folder.is_absolute() && folder.join("config.json").is_file() {
        return Ok(format!("quickstart={}", folder.display()));
    }
    Ok(smollm::checkpoint::SHIPPED[1].to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn sizes_and_seconds_are_read() {
        assert_eq!(bytes("4GiB").unwrap(), 4 << 30);
        assert_eq!((bytes("1.5k").unwrap(), bytes("2 MB").unwrap()), (1536, 2_000_000));
        assert!(bytes("").is_err() && bytes("-1").is_err() && bytes("3 parsecs").is_err());
        assert_eq!(seconds("0.5").unwrap(), Duration::from_millis(500));
        assert!(seconds("-1").is_err() && seconds("nan").is_err());
        assert_eq!(share_of_memory(Some(16 << 30), 2), 2 << 30);
        assert_eq!((share_of_memory(Some(64 << 30), 1), share_of_memory(None, 3)), (4 << 30, 4 << 30));
    }

    #[test]
    fn contradictions_are_refused() {
        let parse = |arguments: &[&str]| Options::try_parse_from([&["smolserve"], arguments].concat());
        assert!(parse(&["--dtype", "f32", "--quantize", "q8_0"]).is_err());
        assert!(parse(&["--max-waiting", "0"]).is_err());
        match parse(&[]).unwrap().sources() {
            Ok(sources) => assert!(["pocket-instruct", "quickstart"].contains(&sources[0].name.as_str())),
            Err(error) => assert!(error.to_string().contains("--model")),
        }
        let twice = parse(&["--model", "a/b", "--model", "c/b"]).unwrap();
        assert!(twice.sources().unwrap_err().to_string().contains("two models are called b"));
        let page = parse(&["--model", "a/b", "--cors", "example.org"]).unwrap();
        assert!(page.settings().unwrap_err().to_string().contains("--cors"));
    }
}
