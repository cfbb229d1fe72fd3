//! Calls in batches, against a small provider in this process.

use super::*;
use crate::store::AnswerSource;
use axum::extract::Path;

/// A provider whose batches end before the first look.
#[derive(Default)]
struct Provider {
    /// The lines of the uploaded files.
    files: Vec<String>,
    /// The input file of each batch.
    batches: Vec<String>,
    /// The output of the first batch, instead of an answer for each line.
    first_output: Option<String>,
    /// Whether the response to the first batch is lost.
    loses_response: bool,
    /// The most calls that the account may have in a batch.
    most_calls: Option<usize>,
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
        if std::mem::take(&mut provider.loses_response) {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        Json(json!({"id": format!("batch-{}", provider.batches.len() - 1)})).into_response()
    };
    let list = async |State(shared): State<Shared>| {
        let provider = shared.lock().unwrap();
        let entry = |(index, file)| json!({"id": format!("batch-{index}"), "input_file_id": file});
        Json(json!({"data": provider.batches.iter().enumerate().map(entry).collect::<Vec<_>>()}))
    };
    let look = async |State(shared): State<Shared>, Path(id): Path<String>| {
        let provider = shared.lock().unwrap();
        let calls = id.trim_start_matches("batch-").parse().map_or(0, |batch: usize| {
            let file: Option<usize> = provider.batches[batch].trim_start_matches("file-").parse().ok();
            file.map_or(0, |file| provider.files[file].lines().count())
        });
        if provider.most_calls.is_some_and(|most| calls > most) {
            let message = "Enqueued token limit reached for m. Limit: 90,000 enqueued tokens.";
            let errors = json!({"data": [{"code": "token_limit_exceeded", "message": message}]});
            return Json(json!({"status": "failed", "errors": errors}));
        }
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

fn hexadecimal(key: CallKey) -> String {
    format!("{:032x}", u128::from_be_bytes(key))
}

/// A run whose first batch, of these keys, was open when its last session ended.
fn with_open_batch(folder: &std::path::Path, keys: &[CallKey]) -> Arc<Run> {
    let run = Arc::new(Run::open(folder, Prices::default(), None).unwrap());
    let calls: Vec<(CallKey, String)> = keys.iter().map(|key| (*key, "step".to_owned())).collect();
    let number = run.store.begin_batch("m", "chat/completions", &calls).unwrap();
    run.store.batch_uploaded(number, "file-earlier").unwrap();
    run.store.batch_submitted(number, "batch-0").unwrap();
    run
}

const POLL: Option<Duration> = Some(Duration::from_millis(50));

#[tokio::test]
async fn calls_without_an_answer_are_sent_again() {
    let (app, shared) = provider(Provider {
        batches: vec!["file-earlier".to_owned()],
        first_output: Some(String::new()),
        ..Provider::default()
    });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = with_open_batch(folder.path(), &[[1; 16]]);
    let first = answer(&teacher, &run, [1; 16]).await;
    assert!(
        matches!(&first, Err(CallError::Failed(reason)) if reason.contains("without its answer")),
        "{first:?}"
    );
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    assert_eq!(shared.lock().unwrap().batches.len(), 2);
}

#[tokio::test]
async fn an_answer_of_a_batch_is_charged_once() {
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
    let run = with_open_batch(folder.path(), &keys);
    // The last session was killed while it recorded the batch.
    let reply = crate::teacher::reply::completion(completion().to_string().as_bytes(), "").unwrap();
    let source = AnswerSource { model: "m", endpoint: "batch", step: "step", microdollars: 0 };
    run.store.record(&keys[0], &source, &reply).await.unwrap();
    answer(&teacher, &run, keys[1]).await.unwrap();
    assert_eq!(answered(&run), 2);
    let failed = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!(failed.calls, 0, "a foreign line counts for nothing");
    // The answer of a row that waited for the budget is recorded by now.
    assert_eq!(answer(&teacher, &run, keys[0]).await.unwrap(), reply);
}

#[tokio::test]
async fn a_batch_is_made_once_if_the_response_is_lost() {
    let (app, shared) = provider(Provider { loses_response: true, ..Provider::default() });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    assert_eq!(answer(&teacher, &run, [1; 16]).await.unwrap().text, "Hi.");
    assert_eq!(shared.lock().unwrap().batches.len(), 1);
}

#[tokio::test]
async fn an_unreadable_answer_of_a_batch_is_charged() {
    let line = json!({"custom_id": hexadecimal([1; 16]), "response": {"status_code": 200, "body": "?"}});
    let (app, _) = provider(Provider { first_output: Some(line.to_string()), ..Provider::default() });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    let failed = answer(&teacher, &run, [1; 16]).await;
    assert!(matches!(&failed, Err(CallError::Failed(reason)) if reason.contains("is charged")), "{failed:?}");
    let charged = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!((charged.calls, charged.completion_tokens), (1, 300));
}

#[tokio::test]
async fn without_counts_a_batch_costs_as_much_as_a_call() {
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
        let charged = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Answered).prompt_tokens;
        assert!(charged > 10, "{charged}");
    }
    assert_eq!(replies[0], replies[1]);
}

/// The account's limit is named only once the batch is looked at.
#[tokio::test]
async fn a_batch_that_is_too_large_for_the_account_is_sent_in_parts() {
    let (app, shared) = provider(Provider { most_calls: Some(3), ..Provider::default() });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    let all = (1..=10).map(|number| answer(&teacher, &run, key(number)));
    for reply in futures::future::join_all(all).await {
        assert_eq!(reply.unwrap().text, "Hi.");
    }
    assert_eq!(answered(&run), 10, "each call is answered once");
    let sizes: Vec<usize> = shared.lock().unwrap().files.iter().map(|file| file.lines().count()).collect();
    assert_eq!(sizes[..3], [10, 5, 3], "halved until it fits: {sizes:?}");
    assert!(sizes[3..].iter().all(|size| *size <= 3) && sizes[2..].iter().sum::<usize>() == 10, "{sizes:?}");
    // A limit that no batch keeps to ends the run.
    let (app, _) = provider(Provider { most_calls: Some(0), ..Provider::default() });
    let teacher = connect(app, 1, POLL).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap());
    let refused = answer(&teacher, &run, key(1)).await;
    let Err(CallError::Unusable(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("Enqueued token limit reached"), "{error}");
}
