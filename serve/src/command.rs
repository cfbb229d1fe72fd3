//! `smolserve`: from a command line to a server people can leave running.

mod arguments;
mod shutdown;

pub use arguments::Options;

use crate::model::{self, LoadOptions, Model, Source};
use crate::server::Server;
use anyhow::{Context, Result, anyhow, bail};
use engine::{Finish, Request};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;

/// Threads that load models, render and tokenize; more would only take the engine's time.
const BLOCKING_THREADS: usize = 8;

/// Serves until it is told to stop. It listens before the models are loaded, and says so on `/health`.
///
/// # Errors
/// Says which option, file or address cannot be used.
pub fn run(options: &Options) -> Result<ExitCode> {
    let sources = options.sources()?;
    let load = options.load()?;
    if options.check {
        return Ok(match check(&sources, &load) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("smolserve: {error:#}");
                ExitCode::FAILURE
            }
        });
    }
    let settings = options.settings()?;
    // Each connection takes a descriptor, and the usual limit is 1024. Where it cannot be raised it stays.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the threads that serve")?;
    let served = runtime.block_on(async {
        let began = Instant::now();
        let address = (options.host.as_str(), options.port);
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {}:{} (--host, --port)", options.host, options.port)
        })?;
        let address = listener.local_addr().context("cannot tell the address")?;
        let server = Arc::new(Server::new(settings));
        let serving = shutdown::serve(listener, Arc::clone(&server));
        let cache = load.cache();
        let loading = load_and_open(&server, sources, load);
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended,
            loaded = loading => loaded?,
        }
        println!(
            "smolserve is ready on http://{address} after {:.2} s: {}{cache}",
            began.elapsed().as_secs_f64(),
            names(&server)?
        );
        serving.await
    });
    // What is still loading or being tokenized is not waited for.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// Loads every model on a thread that may block, then lets requests in.
async fn load_and_open(server: &Arc<Server>, sources: Vec<Source>, options: LoadOptions) -> Result<()> {
    let load = move || sources.iter().map(|source| open(source, &options)).collect::<Result<Vec<_>>>();
    let models =
        tokio::task::spawn_blocking(load).await.map_err(|error| anyhow!("loading failed: {error}"))??;
    server.ready(models);
    Ok(())
}

fn open(source: &Source, options: &LoadOptions) -> Result<Model> {
    let model = model::open(source, options)?;
    for warning in &model.warnings {
        eprintln!("smolserve: {warning}");
    }
    Ok(model)
}

fn names(server: &Server) -> Result<String> {
    let models = server.models().map_err(|error| anyhow!(error.message))?;
    let described = models.iter().map(|model| {
        format!("{} ({}, context {})", model.name, model.engine_name, model.engine.limits().context)
    });
    Ok(described.collect::<Vec<_>>().join(", "))
}

/// Loads every model and lets each say one token: all that can fail at the start has then not failed.
fn check(sources: &[Source], options: &LoadOptions) -> Result<()> {
    for source in sources {
        let began = Instant::now();
        let model = open(source, options)?;
        let loaded = began.elapsed();
        let id = one_token(&model).with_context(|| format!("{} does not answer", source.name))?;
        println!(
            "{}: ok ({}, context {}, loaded in {:.2} s, first token {id} after {:.2} s)",
            source.name,
            model.engine_name,
            model.engine.limits().context,
            loaded.as_secs_f64(),
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn one_token(model: &Model) -> Result<u32> {
    let messages = [smollm::Message::new("user", "Hello")];
    let prompt = smollm::chat::render_prompt(&model.template, &model.tokenizer, &messages, None)?;
    let request = Request { prompt, max_tokens: 1, ..Request::default() };
    let answer = model.engine.submit(request)?.collect_blocking();
    match (answer.finish, answer.ids.first()) {
        (Finish::Failed(reason), _) => bail!(reason),
        (_, Some(id)) => Ok(*id),
        (_, None) => bail!("no token came"),
    }
}
