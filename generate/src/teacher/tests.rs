//! Calls against small servers in this process: what becomes of them where endpoints, batches and budgets meet.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::http::HttpTeacher;
use super::{Asking, Call, Manners, Prompt, Refusal};
use crate::budget::{Limit, Prices};
use crate::keys::Keys;
use crate::recipe::StepSampling;
use crate::run::Run;
use crate::store::{Entry, Key, Outcome, Reply, Source};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use smollm::{ChatTemplate, Message};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What nothing here takes, however slow the machine: a longer wait is a hang.
const FOR_EVER: Duration = Duration::from_secs(60);

async fn serve(app: Router) -> String {
    serve_as_it_is(app.route("/v1/models", get(async || "{}"))).await
}

async fn serve_as_it_is(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("http://{}/v1#m", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    name
}

/// One of several endpoints that is away when a run begins is no reason to refuse it.
#[tokio::test]
async fn a_run_begins_with_the_endpoints_that_are_there() {
    let app = Router::new().route("/v1/chat/completions", post(async || Json(completion())));
    let (away, name) = ("http://127.0.0.1:9/v1#m", serve(app).await);
    let manners = manners(1, None);
    let open = async |names: &str| HttpTeacher::connect(names, ChatTemplate::chatml(), &manners).await;
    let teacher = open(&format!("{away},{name}")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    assert!(open(away).await.is_err_and(|error| error.to_string().contains("check the address")));
}

/// Two hosts by name, which are one machine.
#[tokio::test]
async fn a_teacher_on_another_host_does_not_get_the_key() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listen = async move |State(heard): State<Arc<Mutex<Vec<bool>>>>, headers: HeaderMap| {
        heard.lock().unwrap().push(headers.contains_key("authorization"));
    };
    let app = Router::new().route("/v1/models", get(listen)).with_state(Arc::clone(&heard));
    let main = serve_as_it_is(app).await;
    let other = main.replace("127.0.0.1", "localhost");
    let keys = Keys::read(&["PATH".to_owned()], &main, &[&other]).unwrap();
    let manners = Manners { keys, ..manners(1, None) };
    for (name, gets_it) in [(&main, true), (&other, false)] {
        HttpTeacher::connect(name, ChatTemplate::chatml(), &manners).await.unwrap();
        assert_eq!(heard.lock().unwrap().pop(), Some(gets_it), "{name}");
    }
}

/// A POST would not arrive behind a redirect as it was sent.
#[tokio::test]
async fn an_address_that_sends_its_clients_on_is_named() {
    let name = serve(Router::new()).await;
    let onward = name.replace("#m", "/models");
    let to = onward.clone();
    let away =
        Router::new().route("/old/models", get(async move || axum::response::Redirect::temporary(&to)));
    let old = serve(away).await.replace("/v1", "/old");
    let manners = manners(1, None);
    let refused =
        HttpTeacher::connect(&old, ChatTemplate::chatml(), &manners).await.err().unwrap().to_string();
    assert!(refused.contains(onward.trim_end_matches("/v1/models")), "{refused}");
}

async fn connect(app: Router, in_flight: usize, batch_poll: Option<Duration>) -> HttpTeacher {
    open(&serve(app).await, in_flight, batch_poll).await
}

async fn open(name: &str, in_flight: usize, batch_poll: Option<Duration>) -> HttpTeacher {
    HttpTeacher::connect(name, ChatTemplate::chatml(), &manners(in_flight, batch_poll)).await.unwrap()
}

fn manners(in_flight: usize, batch_poll: Option<Duration>) -> Manners {
    Manners { keys: Keys::default(), in_flight, timeout: FOR_EVER, patience: FOR_EVER, batch_poll }
}

fn call(words: &str) -> Call {
    let prompt = Prompt::Assistant(vec![Message::new("user", words)]);
    Call::new(prompt, StepSampling { temperature: 0.5, top_p: 1.0, max_tokens: 300 }, 7)
}

async fn answer(teacher: &HttpTeacher, run: &Arc<Run>, key: Key) -> Result<Reply, Refusal> {
    let asking = Asking { run, key: &key, step: "step", call: &call("Hello") };
    tokio::time::timeout(FOR_EVER, teacher.answer(asking)).await.expect("the call hangs")
}

fn completion() -> Value {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5});
    json!({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": usage})
}

fn answered(run: &Run) -> u64 {
    Entry::sum(&run.store.ledger().unwrap(), Outcome::Answered).calls
}

/// An answer that cannot be read is paid for all the same, in this session and in the next one.
#[tokio::test]
async fn a_try_that_may_have_been_paid_for_is_booked_at_its_most() {
    let posts = Arc::new(AtomicUsize::new(0));
    let reply = async move |State(posts): State<Arc<AtomicUsize>>| -> Response {
        match posts.fetch_add(1, Ordering::SeqCst) {
            0 => "{\"choices\": [".into_response(),
            1 => (StatusCode::INTERNAL_SERVER_ERROR, "a refusal is free").into_response(),
            _ => Json(completion()).into_response(),
        }
    };
    let app = Router::new().route("/v1/chat/completions", post(reply)).with_state(posts);
    let teacher = connect(app, 1, None).await;
    let folder = tempfile::tempdir().unwrap();
    let limit = |tokens| Some(Limit::Tokens(tokens));
    let open = |tokens| Arc::new(Run::open(folder.path(), Prices::default(), limit(tokens)).unwrap());
    // Room for the first try, and not for another one.
    let run = open(600);
    let stopped = answer(&teacher, &run, [1; 16]).await;
    assert!(matches!(stopped, Err(Refusal::Stopped)) && run.budget.is_spent_up(), "{stopped:?}");
    let lost = Entry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert!((1, 300) == (lost.calls, lost.completion_tokens) && lost.prompt_tokens > 50, "{lost:?}");
    drop(run);
    let run = open(600);
    assert!(
        matches!(answer(&teacher, &run, [1; 16]).await, Err(Refusal::Stopped)),
        "a restart counts it too"
    );
    drop(run);
    let run = open(1200);
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    let failed = Entry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!((failed.calls, failed.cost()), (2, lost.cost()));
}

/// Nobody knows what became of a call that was sent.
#[tokio::test]
async fn a_call_that_times_out_may_have_been_paid_for() {
    let silent = async || tokio::time::sleep(FOR_EVER).await;
    let name = serve(Router::new().route("/v1/chat/completions", post(silent))).await;
    let manners = Manners { timeout: Duration::from_millis(300), ..manners(1, None) };
    let teacher = HttpTeacher::connect(&name, ChatTemplate::chatml(), &manners).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), Some(Limit::Tokens(600))).unwrap());
    assert!(matches!(answer(&teacher, &run, [1; 16]).await, Err(Refusal::Stopped)));
    assert_eq!(Entry::sum(&run.store.ledger().unwrap(), Outcome::Failed).completion_tokens, 300);
}

/// Whoever is tried again holds its part of the budget; whoever waits for the budget must not hold the only seat.
#[tokio::test]
async fn a_call_that_waits_for_the_budget_keeps_no_seat() {
    let posts = Arc::new(AtomicUsize::new(0));
    let reply = async move |State(posts): State<Arc<AtomicUsize>>| -> Response {
        match posts.fetch_add(1, Ordering::SeqCst) {
            0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => Json(completion()).into_response(),
        }
    };
    let app = Router::new().route("/v1/chat/completions", post(reply)).with_state(posts);
    let teacher = connect(app, 1, None).await;
    let folder = tempfile::tempdir().unwrap();
    // Room for one call's worst case, not for two.
    let run = Arc::new(Run::open(folder.path(), Prices::default(), Some(Limit::Tokens(600))).unwrap());
    let (first, second) = tokio::join!(answer(&teacher, &run, [1; 16]), answer(&teacher, &run, [2; 16]));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
}

/// An endpoint need not have a list of models; without one it must come back all the same.
#[tokio::test]
async fn an_endpoint_whose_models_are_an_error_comes_back() {
    let posts = Arc::new(AtomicUsize::new(0));
    let reply = async move |State(posts): State<Arc<AtomicUsize>>| -> Response {
        match posts.fetch_add(1, Ordering::SeqCst) {
            0..3 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => Json(completion()).into_response(),
        }
    };
    let app = Router::new()
        .route("/v1/models", get(async || StatusCode::NOT_IMPLEMENTED))
        .route("/v1/chat/completions", post(reply))
        .with_state(posts);
    let teacher = open(&serve_as_it_is(app).await, 3, None).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    let ask = |key| answer(&teacher, &run, key);
    let (first, second, third) = tokio::join!(ask([1; 16]), ask([2; 16]), ask([3; 16]));
    assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?} {second:?} {third:?}");
}

fn key(number: usize) -> Key {
    (number as u128).to_be_bytes()
}

/// What is wrong with a teacher is no verdict on rows, and nothing may be paid for by the thousand to find it out.
#[tokio::test]
async fn a_model_that_refuses_its_first_calls_alike_ends_the_run() {
    let refuse = async || (StatusCode::BAD_REQUEST, "no such parameter");
    let teacher = connect(Router::new().route("/v1/chat/completions", post(refuse)), 4, None).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    for number in [1, 1, 1].into_iter().chain(2..20) {
        let refused = answer(&teacher, &run, key(number)).await;
        assert!(
            matches!(&refused, Err(Refusal::Doubted(words)) if words.contains("parameter")),
            "{refused:?}"
        );
    }
    let refused = answer(&teacher, &run, key(20)).await;
    assert!(
        matches!(&refused, Err(Refusal::Gone(error)) if error.to_string().contains("400 Bad Request: no such")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_refusal_is_the_rows_once_a_model_has_answered_or_refuses_differently() {
    for (first, then) in [(200, 400), (422, 400)] {
        let posts = Arc::new(AtomicUsize::new(0));
        let reply = async move |State(posts): State<Arc<AtomicUsize>>| -> Response {
            let status = if posts.fetch_add(1, Ordering::SeqCst) == 0 { first } else { then };
            (StatusCode::from_u16(status).unwrap(), Json(completion())).into_response()
        };
        let app = Router::new().route("/v1/chat/completions", post(reply)).with_state(posts);
        let teacher = connect(app, 1, None).await;
        let folder = tempfile::tempdir().unwrap();
        let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
        let _ = answer(&teacher, &run, key(1)).await;
        for number in 2..30 {
            let refused = answer(&teacher, &run, key(number)).await;
            assert!(matches!(refused, Err(Refusal::Rejected(Some(400), _))), "{refused:?}");
        }
    }
}

/// A provider whose batches end as soon as they are looked at.
#[derive(Default)]
struct Provider {
    /// The lines of uploaded files.
    files: Vec<String>,
    /// Of each batch its input file.
    batches: Vec<String>,
    /// What the first batch gives, instead of an answer for each line.
    first_output: Option<String>,
    /// Whether the answer to the first batch's making is lost.
    loses: bool,
}

type Shared = Arc<Mutex<Provider>>;

fn provider(provider: Provider) -> (Router, Shared) {
    let shared = Arc::new(Mutex::new(provider));
    let files = async |State(shared): State<Shared>, body: String| {
        let mut provider = shared.lock().unwrap();
        provider.files.push(body.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n"));
        Json(json!({"id": format!("file-{}", provider.files.len() - 1)}))
    };
    let make = async |State(shared): State<Shared>, Json(body): Json<Value>| -> Response {
        let mut provider = shared.lock().unwrap();
        provider.batches.push(body["input_file_id"].as_str().unwrap().to_owned());
        if std::mem::take(&mut provider.loses) {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        Json(json!({"id": format!("batch-{}", provider.batches.len() - 1)})).into_response()
    };
    let list = async |State(shared): State<Shared>| {
        let provider = shared.lock().unwrap();
        let entry = |(index, file)| json!({"id": format!("batch-{index}"), "input_file_id": file});
        Json(json!({"data": provider.batches.iter().enumerate().map(entry).collect::<Vec<_>>()}))
    };
    let look = async |Path(id): Path<String>| {
        Json(json!({"status": "completed", "output_file_id": id.replace("batch", "output")}))
    };
    let content = async |State(shared): State<Shared>, Path(id): Path<String>| {
        let provider = shared.lock().unwrap();
        if let (Some(first), "output-0") = (&provider.first_output, id.as_str()) {
            return first.clone();
        }
        let batch: usize = id.trim_start_matches("output-").parse().unwrap();
        let file: usize = provider.batches[batch].trim_start_matches("file-").parse().unwrap();
        let lines = provider.files[file].lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| result(line["custom_id"].as_str().unwrap())).collect()
    };
    let app = Router::new()
        .route("/v1/files", post(files))
        .route("/v1/files/{id}/content", get(content))
        .route("/v1/batches", post(make).get(list))
        .route("/v1/batches/{id}", get(look))
        .with_state(Arc::clone(&shared));
    (app, shared)
}

fn result(id: &str) -> String {
    format!("{}\n", json!({"custom_id": id, "response": {"status_code": 200, "body": completion()}}))
}

fn hexadecimal(key: Key) -> String {
    format!("{:032x}", u128::from_be_bytes(key))
}

/// A run whose first batch, of these keys, was out when its last session ended.
fn with_batch_out(folder: &std::path::Path, keys: &[Key]) -> Arc<Run> {
    let run = Arc::new(Run::open(folder, Prices::default(), None).unwrap());
    let calls: Vec<(Key, String)> = keys.iter().map(|key| (*key, "step".to_owned())).collect();
    let number = run.store.begin_batch("m", "chat/completions", &calls).unwrap();
    run.store.batch_uploaded(number, "file-earlier").unwrap();
    run.store.batch_submitted(number, "batch-0").unwrap();
    run
}

const POLL: Option<Duration> = Some(Duration::from_millis(50));

#[tokio::test]
async fn what_an_earlier_batch_left_unanswered_goes_out_again() {
    let (app, shared) = provider(Provider {
        batches: vec!["file-earlier".to_owned()],
        first_output: Some(String::new()),
        ..Provider::default()
    });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = with_batch_out(folder.path(), &[[1; 16]]);
    let first = answer(&teacher, &run, [1; 16]).await;
    assert!(
        matches!(&first, Err(Refusal::Failed(reason)) if reason.contains("without its answer")),
        "{first:?}"
    );
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    assert_eq!(shared.lock().unwrap().batches.len(), 2);
}

#[tokio::test]
async fn what_is_recorded_of_a_batch_is_in_the_ledger_once() {
    let keys = [[1; 16], [2; 16]];
    let foreign = hexadecimal([9; 16]);
    let output = result(&hexadecimal(keys[0])) + &result(&hexadecimal(keys[1])) + &result(&foreign);
    let (app, _) = provider(Provider {
        batches: vec!["file-earlier".to_owned()],
        first_output: Some(output),
        ..Provider::default()
    });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = with_batch_out(folder.path(), &keys);
    // The last session was killed as it took the batch in.
    let reply = super::http::completion(completion().to_string().as_bytes()).unwrap();
    let source = Source { model: "m", endpoint: "batch", step: "step", microdollars: 0 };
    run.store.record(&keys[0], &source, &reply).await.unwrap();
    answer(&teacher, &run, keys[1]).await.unwrap();
    assert_eq!(answered(&run), 2);
    let failed = Entry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!(failed.calls, 0, "a line that is nobody's counts for nothing");
    // A row that waited for the budget meanwhile asks for what is recorded by now.
    assert_eq!(answer(&teacher, &run, keys[0]).await.unwrap(), reply);
}

#[tokio::test]
async fn a_batch_is_made_once_though_the_answer_is_lost() {
    let (app, shared) = provider(Provider { loses: true, ..Provider::default() });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    assert_eq!(shared.lock().unwrap().batches.len(), 1);
}

#[tokio::test]
async fn an_answer_of_a_batch_that_cannot_be_read_is_booked() {
    let line = json!({"custom_id": hexadecimal([1; 16]), "response": {"status_code": 200, "body": "?"}});
    let (app, _) = provider(Provider { first_output: Some(line.to_string()), ..Provider::default() });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    let failed = answer(&teacher, &run, [1; 16]).await;
    assert!(matches!(&failed, Err(Refusal::Failed(reason)) if reason.contains("is booked")), "{failed:?}");
    let lost = Entry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!((lost.calls, lost.completion_tokens), (1, 300));
}

#[tokio::test]
async fn a_batch_that_counts_no_tokens_costs_what_a_call_would() {
    let body = json!({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]});
    let line = json!({"custom_id": hexadecimal([1; 16]), "response": {"status_code": 200, "body": body}});
    let (app, _) = provider(Provider { first_output: Some(line.to_string()), ..Provider::default() });
    let app = app.route("/v1/chat/completions", post(async move || Json(body)));
    let name = serve(app).await;
    let mut replies = Vec::new();
    for poll in [POLL, None] {
        let (teacher, folder) = (open(&name, 1, poll).await, tempfile::tempdir().unwrap());
        let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
        replies.push(answer(&teacher, &run, [1; 16]).await.unwrap());
        let booked = Entry::sum(&run.store.ledger().unwrap(), Outcome::Answered).prompt_tokens;
        assert!(booked > 10, "{booked}");
    }
    assert_eq!(replies[0], replies[1]);
}

/// What never ends must not fill the memory.
#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let endless = async move || {
        let piece = move |()| {
            let sent = Arc::clone(&counted);
            async move {
                sent.fetch_add(1 << 20, Ordering::SeqCst);
                Some((Ok::<_, std::io::Error>(vec![b' '; 1 << 20]), ()))
            }
        };
        axum::body::Body::from_stream(futures::stream::unfold((), piece))
    };
    let name = serve(Router::new().route("/v1/endless", get(endless))).await;
    let response = reqwest::get(name.replace("#m", "/endless")).await.unwrap();
    let error = super::http::whole(response).await.unwrap_err();
    assert!(error.contains("more than"), "{error}");
    assert!(sent.load(Ordering::SeqCst) < 256 << 20);
}
