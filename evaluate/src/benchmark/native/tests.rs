//! Prompts and ids of every task, shot and form, compared with those of lm-evaluation-harness 0.4.13 and lighteval
//! ea46419 (`prompts.jsonl`, `lighteval_prompts.jsonl` of the shared goldens), byte for byte.

use super::*;
use crate::benchmark::data::Data;
use crate::benchmark::{Settings, prepare};
use crate::shared::{self, lines};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn golden_checkpoint() -> Option<(PathBuf, tempfile::TempDir)> {
    let data = shared::shared_data()?;
    let model = shared::real_checkpoint(&data)?;
    Some((data, shared::transformers_5(&model)))
}

fn options(shots: u64, chat: bool, one_message: bool) -> Options {
    Options { num_fewshot: Some(shots as usize), chat_template: chat, one_message, ..Options::default() }
}

/// `[3, 17]` as Python's json.dumps writes it.
fn python_list(ids: &[u32]) -> String {
    format!("[{}]", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))
}

fn short_hash(text: &str) -> String {
    sha256(text)[..16].to_owned()
}

struct Asked {
    context: String,
    /// The ids of the context, and of each continuation.
    requests: Vec<(Vec<u32>, Vec<u32>)>,
}

/// What a model is asked about each document of a task, by the number of the row.
fn asked(
    task: &str,
    data: &Path,
    model: &mut NativeModel,
    options: &Options,
    limit: usize,
) -> BTreeMap<usize, Vec<Asked>> {
    let (tasks, _) = crate::tasks::select(&[task.to_owned()], &[]).expect("a task");
    let settings = Settings {
        models: &[],
        data: Some(data),
        out: data,
        limit: Some(limit),
        restart: false,
        skip_invalid: false,
        options,
        more_tasks: &[],
    };
    let mut data = Data::open(Some(data), false).expect("data");
    let prepared = prepare::task(&tasks[0], &mut data, &settings).expect("prepared");
    model.form = match options.chat_template {
        true => Form::Chat { examples_as_turns: !options.one_message },
        false => Form::Plain,
    };
    let job = model.job(&prepared).expect("a job");
    let encoder = Encoder::new(&model.checkpoint);
    let of_document = |document: &JobDocument<'_>| {
        let texts = document.document.prompts.iter().map(|prompt| encoder.text(prompt, model.form));
        let texts: Vec<String> = texts.collect::<Result<_>>().expect("text");
        let requests = match &document.work {
            Work::Generate(request) => vec![vec![(request.prompt.clone(), Vec::new())]],
            Work::ScoreText(_) | Work::GenerateText { .. } => unreachable!("it is a checkpoint"),
            Work::Converse { .. } => unreachable!("no golden is a conversation"),
            Work::Score(requests) => requests
                .iter()
                .map(|one| one.continuations.iter().map(|rest| (one.context.clone(), rest.clone())).collect())
                .collect(),
        };
        let asked = texts.into_iter().zip(requests).map(|(context, requests)| Asked { context, requests });
        (document.document.doc_id, asked.collect())
    };
    job.documents.iter().map(of_document).collect()
}

#[test]
fn prompts_and_ids_are_lm_evals() {
    let Some((data, folder)) = golden_checkpoint() else { return };
    // The weights are hashed once.
    let location = folder.path().display().to_string();
    let mut model = NativeModel::open(&location, &options(0, false, false)).expect("a model");
    let mut by_form: BTreeMap<(String, u64, bool, bool), Vec<Value>> = BTreeMap::new();
    for row in lines(&data.join("goldens/evaluation/prompts.jsonl")) {
        let flag = |name: &str| row[name] == true;
        let task = row["task"].as_str().expect("a name").to_owned();
        let shots = row["num_fewshot"].as_u64().expect("a number");
        by_form.entry((task, shots, flag("chat"), flag("multiturn"))).or_default().push(row);
    }
    let mut compared = 0;
    for ((task, shots, chat, multiturn), rows) in by_form {
        let options = options(shots, chat, !multiturn);
        let documents = asked(&task, &data.join("evaluation"), &mut model, &options, 3);
        for row in rows {
            let number = |name: &str| row[name].as_u64().expect("a number") as usize;
            let asked = &documents[&number("doc_id")];
            type Ids = Vec<u32>;
            let all: Vec<(&str, &(Ids, Ids))> = asked
                .iter()
                .flat_map(|one| one.requests.iter().map(|request| (one.context.as_str(), request)))
                .collect();
            let (context, (ids, rest)) = all[number("idx")];
            let form = format!("{task}, {shots} shots, chat {chat}, turns {multiturn}, {}", number("doc_id"));
            assert_eq!(context, row["context"].as_str().expect("text"), "{form}");
            let hashed = match row["type"].as_str() {
                Some("generate_until") => python_list(ids),
                _ => format!("[{}, {}]", python_list(ids), python_list(rest)),
            };
            let golden = row["ids_sha256"].as_str().expect("a hash");
            let alternative = short_hash(&format!("[{}, []]", python_list(ids)));
            assert!([short_hash(&hashed), alternative].iter().any(|own| own == golden), "{form}: other ids");
            compared += 1;
        }
    }
    println!("{compared} requests are the same");
    assert!(compared > 350);
}

#[test]
fn prompts_and_ids_are_lightevals() {
    let Some((data, folder)) = golden_checkpoint() else { return };
    // The weights are hashed once.
    let location = folder.path().display().to_string();
    let mut model = NativeModel::open(&location, &options(0, false, false)).expect("a model");
    let rows = lines(&data.join("goldens/evaluation/lighteval_prompts.jsonl"));
    let mut compared = 0;
    for chat in [false, true] {
        for task in ["gsm8k", "bbh:boolean_expressions", "bbh:date_understanding", "bbh:word_sorting"] {
            let of_task = |row: &&Value| row["task"] == task && row["chat"] == chat;
            let rows: Vec<&Value> = rows.iter().filter(of_task).collect();
            let shots = rows[0]["num_fewshot"].as_u64().expect("a number");
            let name = format!("{}@smollm2", task.replace(':', "_"));
            let options = options(shots, chat, false);
            let documents = asked(&name, &data.join("evaluation"), &mut model, &options, rows.len());
            for row in rows {
                let asked = &documents[&(row["row"].as_u64().expect("a number") as usize)][0];
                assert_eq!(asked.context, row["context"].as_str().expect("text"), "{name} {chat}");
                compared += 1;
            }
        }
    }
    println!("{compared} prompts are the same");
}
