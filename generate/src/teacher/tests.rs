//! Calls of small servers in this process: how endpoints, batches and budgets work together.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod batches;
mod faults;

use super::call::{Call, CallContext, CallError, Prompt};
use super::endpoint_settings::{EndpointSettings, Rates, UserTurns};
use super::http::HttpTeacher;
use super::request_settings::RequestSettings;
use crate::api_keys::ApiKeys;
use crate::budget::{Limit, Prices};
use crate::recipe::Sampling;
use crate::run::Run;
use crate::store::{CallKey, LedgerEntry, Outcome, Reply};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use checkpoint::{ChatTemplate, Message};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than anything here takes, also on a slow machine: a longer wait is a hang.
const FOREVER: Duration = Duration::from_secs(60);

async fn serve(app: Router) -> String {
    serve_without_models(app.route("/v1/models", get(async || "{}"))).await
}

async fn serve_without_models(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("http://{}/v1#m", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    name
}

/// One of several endpoints may be down when a run begins.
#[tokio::test]
async fn a_run_begins_with_the_endpoints_that_are_up() {
    let app = Router::new().route("/v1/chat/completions", post(async || Json(completion())));
    let (down, name) = ("http://127.0.0.1:9/v1#m", serve(app).await);
    let settings = settings(1, None);
    let open = async |names: &str| HttpTeacher::connect(names, ChatTemplate::chatml(), &settings).await;
    let teacher = open(&format!("{down},{name}")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    assert!(open(down).await.is_err_and(|error| error.to_string().contains("check the address")));
}

/// Two host names of one machine.
#[tokio::test]
async fn a_teacher_on_another_host_gets_no_key() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listen = async move |State(heard): State<Arc<Mutex<Vec<bool>>>>, headers: HeaderMap| {
        heard.lock().unwrap().push(headers.contains_key("authorization"));
    };
    let app = Router::new().route("/v1/models", get(listen)).with_state(Arc::clone(&heard));
    let main = serve_without_models(app).await;
    let other = main.replace("127.0.0.1", "localhost");
    let keys = ApiKeys::read(&["PATH".to_owned()], &main, &[&other]).unwrap();
    let settings = EndpointSettings { keys, ..settings(1, None) };
    for (name, gets_it) in [(&main, true), (&other, false)] {
        HttpTeacher::connect(name, ChatTemplate::chatml(), &settings).await.unwrap();
        assert_eq!(heard.lock().unwrap().pop(), Some(gets_it), "{name}");
    }
}

/// As gateways do that moved a path.
#[tokio::test]
async fn a_call_is_redirected_within_its_server_alone() {
    let moved = || async { axum::response::Redirect::temporary("/new/chat/completions") };
    let app = Router::new().route("/v1/chat/completions", post(moved)).route(
        "/new/chat/completions",
        post(|Json(body): Json<Value>| async move {
            let mut answer = completion();
            answer["choices"][0]["message"]["content"] = body["messages"][0]["content"].clone();
            Json(answer)
        }),
    );
    let teacher = connect(app, 1, None).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hello");
}

/// A redirect would change a POST.
#[tokio::test]
async fn a_redirecting_address_is_refused() {
    let name = serve(Router::new()).await;
    let onward = name.replace("#m", "/models");
    let to = onward.clone();
    let away =
        Router::new().route("/old/models", get(async move || axum::response::Redirect::temporary(&to)));
    let old = serve(away).await.replace("/v1", "/old");
    let settings = settings(1, None);
    let refused =
        HttpTeacher::connect(&old, ChatTemplate::chatml(), &settings).await.err().unwrap().to_string();
    assert!(refused.contains(onward.trim_end_matches("/v1/models")), "{refused}");
}

async fn connect(app: Router, in_flight: usize, batch_poll: Option<Duration>) -> HttpTeacher {
    open(&serve(app).await, in_flight, batch_poll).await
}

async fn open(name: &str, in_flight: usize, batch_poll: Option<Duration>) -> HttpTeacher {
    HttpTeacher::connect(name, ChatTemplate::chatml(), &settings(in_flight, batch_poll)).await.unwrap()
}

fn settings(in_flight: usize, batch_poll: Option<Duration>) -> EndpointSettings {
    EndpointSettings {
        keys: ApiKeys::default(),
        in_flight,
        timeout: FOREVER,
        patience: FOREVER,
        batch_poll,
        rates: Rates::default(),
        user_turns: UserTurns::Raw,
        request: RequestSettings::default(),
    }
}

fn call(words: &str) -> Call {
    let prompt = Prompt::Assistant(vec![Message::new("user", words)]);
    Call::new(prompt, Sampling { temperature: 0.5, top_p: 1.0, max_tokens: 300 }, 7)
}

async fn answer(teacher: &HttpTeacher, run: &Arc<Run>, key: CallKey) -> Result<Reply, CallError> {
    let context = CallContext { run, key: &key, step: "step", call: &call("Hello"), correction: None };
    tokio::time::timeout(FOREVER, teacher.answer(context)).await.expect("the call hangs")
}

fn completion() -> Value {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5});
    json!({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": usage})
}

fn answered(run: &Run) -> u64 {
    LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Answered).calls
}

/// An unreadable answer is charged, in this session and in the next one.
#[tokio::test]
async fn an_unreadable_answer_is_charged_at_its_worst_case() {
    let posts = Arc::new(AtomicUsize::new(0));
    let reply = async move |State(posts): State<Arc<AtomicUsize>>| -> Response {
        match posts.fetch_add(1, Ordering::SeqCst) {
            0 => "{\"choices\": [".into_response(),
            1 => (StatusCode::INTERNAL_SERVER_ERROR, "a 500 is free").into_response(),
            _ => Json(completion()).into_response(),
        }
    };
    let app = Router::new().route("/v1/chat/completions", post(reply)).with_state(posts);
    let teacher = connect(app, 1, None).await;
    let folder = tempfile::tempdir().unwrap();
    let limit = |tokens| Some(Limit::Tokens(tokens));
    let open = |tokens| Arc::new(Run::open(folder.path(), Prices::default(), limit(tokens)).unwrap());
    // The budget allows the first attempt, and no other.
    let run = open(600);
    let stopped = answer(&teacher, &run, [1; 16]).await;
    assert!(matches!(stopped, Err(CallError::Stopped)) && run.budget.is_exhausted(), "{stopped:?}");
    let charged = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert!(
        (1, 300) == (charged.calls, charged.completion_tokens) && charged.prompt_tokens > 50,
        "{charged:?}"
    );
    drop(run);
    let run = open(600);
    assert!(matches!(answer(&teacher, &run, [1; 16]).await, Err(CallError::Stopped)), "a restart counts it");
    drop(run);
    let run = open(1200);
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    let failed = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!((failed.calls, failed.cost()), (2, charged.cost()));
}

/// The server may have answered the call.
#[tokio::test]
async fn a_call_that_times_out_is_charged() {
    let silent = async || tokio::time::sleep(FOREVER).await;
    let name = serve(Router::new().route("/v1/chat/completions", post(silent))).await;
    let settings = EndpointSettings { timeout: Duration::from_millis(300), ..settings(1, None) };
    let teacher = HttpTeacher::connect(&name, ChatTemplate::chatml(), &settings).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), Some(Limit::Tokens(600))).unwrap());
    assert!(matches!(answer(&teacher, &run, [1; 16]).await, Err(CallError::Stopped)));
    assert_eq!(LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Failed).completion_tokens, 300);
}

/// A call that is tried again keeps its part of the budget, so a call that waits for the budget must not keep the only
/// permit.
#[tokio::test]
async fn a_call_that_waits_for_the_budget_has_no_permit() {
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
    // The budget allows one call's worst case, not two.
    let run = Arc::new(Run::open(folder.path(), Prices::default(), Some(Limit::Tokens(600))).unwrap());
    let (first, second) = tokio::join!(answer(&teacher, &run, [1; 16]), answer(&teacher, &run, [2; 16]));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
}

/// An endpoint without a list of models must come up again.
#[tokio::test]
async fn an_endpoint_without_a_list_of_models_comes_up_again() {
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
    let teacher = open(&serve_without_models(app).await, 3, None).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    let ask = |key| answer(&teacher, &run, key);
    let (first, second, third) = tokio::join!(ask([1; 16]), ask([2; 16]), ask([3; 16]));
    assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?} {second:?} {third:?}");
}

fn key(number: usize) -> CallKey {
    (number as u128).to_be_bytes()
}

/// An endless response must not fill the memory.
#[tokio::test]
async fn an_endless_response_is_cut_off() {
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
    let error = super::reply::whole(response).await.unwrap_err();
    assert!(error.contains("more than"), "{error}");
    assert!(sent.load(Ordering::SeqCst) < 256 << 20);
}
