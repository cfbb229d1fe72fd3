//! Whole-system tests: real files, real processes, numbers from other implementations.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

/// `posttrain ablate`: equal conditions, and the mixture that was planted.
mod ablation;
/// Adapters that are served over the weights of their base.
mod adapter_serving;
/// Adapters from command line to merged model: kills, merges, refusals.
mod adapters;
/// A teacher that marks pages.
mod annotator;
/// What a request may ask of the engine, and that an answer depends on nothing else.
mod answers;
/// `posttrain --eval-tasks`: scores while a model trains.
mod benchmarks;
/// Pages in a browser, and what `smolserve` gives them.
mod browsers;
/// `smoltalk clean` with an endpoint's embeddings.
mod cleaning;
/// `smolserve` as the official clients drive it, against OpenAI's schemas.
mod clients;
/// Rows of code that their tests decide on.
mod code_rows;
/// What a power loss may leave of a training run: resumed to the same bits.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod crash_states;
/// `smoltalk curate`: recipes, marks of a teacher, classifiers.
mod curation;
/// Damage to what training stores, and systems that are odd: noticed, mended, or refused with a remedy that helps.
#[cfg(unix)]
mod damage;
/// What a power loss may leave of datasets.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod data_crash_states;
/// A browser that is driven as a person would.
#[cfg(unix)]
mod devtools;
/// A model learns from a teacher.
mod distillation;
/// Commands in the documentation are accepted by the programs.
mod documented_commands;
/// Commands in the documentation run.
mod documented_runs;
/// Pages of the documentation, taken apart.
mod documents;
/// `smoltalk gen` against endpoints that fail, die, cost money or answer in batches.
mod endpoints;
/// Clients of `smolserve` that wait for one another's answers.
mod fairness;
/// Every model family against transformers.
mod families;
/// Every model family in training: gradients and files against transformers, adapters, runs that are killed.
mod family_training;
/// An endpoint that breaks in every way.
mod faulty_endpoint;
/// Figures and pictures on the front page.
mod figures;
/// Logits, greedy answers and scores against transformers.
mod forward;
/// `smoltalk gen` from command line to dataset: whole runs, kills, bad input.
mod generation;
/// GGUF files as models.
mod gguf;
/// Loss and gradients against transformers' Llama; packing, splitting and threads change nothing.
mod gradients;
/// Chat templates that take all memory or time.
#[cfg(target_os = "linux")]
mod harmful_templates;
/// `smolserve` among requests that are made to end or starve it.
mod hostile;
/// What a trained model carries on of its parent's files.
mod inherited;
/// Rows of every layout that is read.
mod layout_rows;
/// Links of the documentation.
mod links;
/// LLaMA-Factory's kinds of files, through every command.
mod llama_factory;
/// What Hugging Face `datasets` reads, and what we do.
mod loading;
/// Servers of the tests' own.
mod local_http;
/// LoRA against peft: gradients, steps, files.
mod lora;
/// `smoltalk mix`: counts, weights, filters, the hub.
mod mixing;
/// Proxies, certificates and addresses as people have them.
mod networks;
/// A teacher that answers and fails in every way that endpoints do.
mod odd_teacher;
/// What `smoltalk` does to folders, terminals and hosts that are not its own.
mod outputs;
/// Archives, wheels and the script that installs them.
mod packages;
/// The circle with the models that come with the project.
mod pocket;
/// `posttrain pretrain`: stages, mixtures, interventions.
mod pretraining;
/// The project's own programs.
mod programs;
/// Frozen weights in few bits under an adapter.
mod quantized_base;
/// The reference of all commands and flags, completions and manual pages.
mod reference;
/// Rows on disk: every layout, every fault.
mod rows;
/// `posttrain` and folders of the user's.
mod run_folders;
/// What a run leaves: the best or the last weights, averages, time limits; KTO.
mod run_results;
/// `posttrain --sample-prompts`: replies while a model trains.
mod samples;
/// A teacher that says what a script says, good and bad.
mod scripted_teacher;
/// `smolserve` under load: killed clients, slow readers, a thousand idle connections.
mod seed_columns;
mod serving;
/// `--shards`: many processes, one result.
mod shared_runs;
/// `--shards` under a real Slurm.
#[cfg(target_os = "linux")]
mod slurm;
/// `smolserve` for a long time.
mod soak;
/// No import circles, and nobody but the demonstration knows the demonstration.
mod stored_logprobs;
mod structure;
/// A teacher for the tasks that are made when they are named.
mod task_teacher;
/// The tasks that are made when they are named.
mod tasks;
/// `smoltalk gen` with teachers as people have them.
mod teachers;
/// `posttrain tokenizer`.
mod tokenizer_training;
/// Text and conversations against Hugging Face's tokenizers and templates.
mod tokens;
/// A token's log-probability in training and from the server: the same bits.
mod trained_as_served;
/// `posttrain sft` and `dpo` from command line to checkpoint: TRL's losses, kills, bad input.
mod training;
/// A tiny model made by the programs themselves, and commands that train it.
mod workshop;
