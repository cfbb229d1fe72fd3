//! The `smolserve` command: from its options to a server that runs until it is told to stop.

mod adapters;
mod listener;
mod log;
mod options;
mod served_models;
mod shutdown;

pub use options::Options;
use served_models::ServedModels;

use crate::background;
use crate::model::{self, LoadOptions, Model};
use crate::model_folder::ModelFolder;
use crate::model_source::ModelGroup;
use crate::model_table::ModelTable;
use crate::served_encoder::ServedEncoder;
use crate::state::{ServerSettings, ServerState};
use anyhow::{Context, Result, anyhow, bail};
use engine::{Finish, Request};
use listener::Listener;
use std::sync::Arc;
use std::time::Instant;
use terminal::errors::one_line;

/// Threads that load models, render and tokenize; more would only take compute time from the engine.
const BLOCKING_THREADS: usize = 8;

/// Bytes of the stack of these threads: templates recurse.
const STACK: usize = 16 << 20;

/// File descriptors that are not connections: models, the log, the runtime's own.
const OTHER_FILES: usize = 64;

const SUCCESS: u8 = 0;
/// The exit code of `--check` when a model cannot be loaded or does not generate.
const CHECK_FAILED: u8 = 1;

/// Serves until a signal stops it; returns the exit code. It listens before the models are loaded, and `/health` reports
/// that they load.
///
/// # Errors
/// Names the option, file or address that cannot be used.
pub fn run(options: &Options) -> Result<u8> {
    log::start(&options.log_level);
    if let Err(error) = checkpoint::template::isolate() {
        tracing::warn!(
            "templates are rendered in this process, where a harmful one can end it: cannot start another process: {error}"
        );
    }
    let models = options.models()?;
    let load = options.load(&models)?;
    if options.check {
        return Ok(match check(&models, &load) {
            Ok(()) => SUCCESS,
            Err(error) => {
                terminal::message!("smolserve: {}", one_line(&error));
                CHECK_FAILED
            }
        });
    }
    let mut settings = options.settings()?;
    // Each connection needs a file descriptor, and the usual limit is 1024. Where it cannot be raised, it stays.
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    settings.max_connections = settings.max_connections.min(connections_within(files));
    if let Some(warning) = options.exposure() {
        tracing::warn!("{warning}");
    }
    background::map_large_buffers();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .build()
        .context("cannot start the server's threads")?;
    let served = runtime.block_on(serve(options, settings, models, load));
    // Loading and tokenizing that is still in progress is abandoned.
    runtime.shutdown_background();
    served.map(|()| SUCCESS)
}

/// Maximum number of connections with so many file descriptors.
fn connections_within(files: usize) -> usize {
    files.saturating_sub(OTHER_FILES).max(1)
}

async fn serve(
    options: &Options,
    settings: ServerSettings,
    models: ServedModels,
    load: LoadOptions,
) -> Result<()> {
    let began = Instant::now();
    let listener = match &options.unix_socket {
        Some(path) => Listener::unix(path)?,
        None => Listener::tcp(&options.host, options.port).await?,
    };
    let address = listener.address()?;
    let state = Arc::new(ServerState::new(settings));
    drop(tokio::spawn(background::release_memory()));
    let serving = shutdown::serve(listener, Arc::clone(&state));
    let cache_note = load.cache_note();
    let loading = load_models(&state, models, load);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        loaded = loading => loaded?,
    }
    // Who does not read this line is served all the same.
    let _ = terminal::results!(
        "smolserve is ready on {address} after {:.2} s: {}{cache_note}",
        began.elapsed().as_secs_f64(),
        summary(&state)?
    );
    serving.await
}

/// What answers requests from the start.
type Loaded = (Vec<Arc<Model>>, Vec<Arc<ServedEncoder>>);

/// Loads every model on a thread that may block, then lets requests in.
async fn load_models(state: &Arc<ServerState>, models: ServedModels, options: LoadOptions) -> Result<()> {
    let ServedModels { groups, encoders, folder, aliases } = models;
    let of_folder = options.clone();
    let load = move || -> Result<Loaded> {
        let loaded = groups.iter().map(|group| open(group, &options)).collect::<Result<Vec<_>>>()?;
        // As on the command line: adapters come last, so that they do not answer requests without a name.
        let (adapters, models): (Vec<_>, Vec<_>) =
            loaded.into_iter().flatten().map(Arc::new).partition(|model| model.parent.is_some());
        let open_encoder = |source| ServedEncoder::open(source).map(Arc::new);
        let encoders = encoders.iter().map(open_encoder).collect::<Result<_>>()?;
        Ok(([models, adapters].concat(), encoders))
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    let (loaded, encoders) = loaded.map_err(|error| anyhow!("cannot load the models: {error}"))??;
    let folder = folder.map(|folder| Arc::new(ModelFolder::new(folder.path, folder.unload_after, of_folder)));
    if let Some(folder) = &folder {
        drop(tokio::spawn(Arc::clone(folder).watch()));
    }
    state.set_models(ModelTable { loaded, folder, encoders, aliases });
    Ok(())
}

/// Loads a model with its adapters.
fn open(group: &ModelGroup, options: &LoadOptions) -> Result<Vec<Model>> {
    let models = model::open_group(group, options)?;
    for warning in models.iter().flat_map(|model| &model.warnings) {
        tracing::warn!("{warning}");
    }
    Ok(models)
}

fn summary(state: &ServerState) -> Result<String> {
    let models = state.models().map_err(|error| anyhow!(error.message))?.list();
    let described = models.into_iter().map(|listed| match (listed.engine_name(), listed.context()) {
        (Some(engine), Some(context)) => format!("{} ({engine}, context {context})", listed.name),
        _ => format!("{} (loaded on demand)", listed.name),
    });
    Ok(described.collect::<Vec<_>>().join(", "))
}

/// Loads every model and generates one token or vector with each, so that faults of the start show.
fn check(models: &ServedModels, options: &LoadOptions) -> Result<()> {
    for source in &models.encoders {
        let encoder = ServedEncoder::open(source)?;
        let (width, context) = (encoder.check()?, encoder.context());
        terminal::results!("{}: ok (encoder, context {context}, vectors of {width} numbers)", encoder.name)?;
    }
    for group in &models.of_check() {
        let began = Instant::now();
        let models = open(group, options)?;
        let loaded = began.elapsed();
        for model in &models {
            let id = one_token(model).with_context(|| format!("{} does not generate", model.name))?;
            terminal::results!(
                "{}: ok ({}, context {}, loaded in {:.2} s, first token {id} after {:.2} s)",
                model.name,
                model.engine_name,
                model.engine.limits().context,
                loaded.as_secs_f64(),
                began.elapsed().as_secs_f64()
            )?;
        }
    }
    Ok(())
}

fn one_token(model: &Model) -> Result<u32> {
    let messages = [checkpoint::Message::new("user", "Hello")];
    let prompt = checkpoint::chat::render_prompt(&model.template, &model.tokenizer, &messages, None)?;
    let request = Request { prompt, max_tokens: 1, ..Request::default() };
    let answer = model.engine.submit(request)?.collect_blocking();
    match (answer.finish, answer.ids.first()) {
        (Finish::Failed(reason), _) => bail!(reason),
        (_, Some(id)) => Ok(*id),
        (_, None) => bail!("the engine generated no token"),
    }
}

#[cfg(test)]
mod tests {
    use super::connections_within;

    #[test]
    fn connections_leave_file_descriptors_for_the_rest() {
        assert_eq!(connections_within(200), 136);
        assert_eq!(connections_within(1024), 960);
        assert_eq!([0, 1, 64, 65].map(connections_within), [1; 4]);
        assert!(connections_within(usize::MAX) > 1 << 40);
    }
}
