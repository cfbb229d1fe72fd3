//! Endpoints that refuse, answer what cannot be read, or want to be asked otherwise.

use super::*;
use crate::teacher::call::Correction;
use crate::teacher::request_settings::{RequestOptions, Role};
use reqwest::header::{HeaderValue, USER_AGENT};

/// What an endpoint was sent, body by body.
type Bodies = Arc<Mutex<Vec<Value>>>;

/// An endpoint whose response to each request follows from its body and its number.
fn endpoint(respond: fn(&Value, usize) -> Response) -> (Router, Bodies) {
    let bodies = Bodies::default();
    let shared = Arc::clone(&bodies);
    let handle = move |body: Json<Value>| {
        let number = {
            let mut bodies = shared.lock().unwrap();
            bodies.push(body.0.clone());
            bodies.len() - 1
        };
        async move { respond(&body.0, number) }
    };
    let app = Router::new()
        .route("/v1/chat/completions", post(handle.clone()))
        .route("/v1/completions", post(handle));
    (app, bodies)
}

fn refuse(status: u16, message: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(json!({"error": {"message": message}}))).into_response()
}

fn run(folder: &tempfile::TempDir) -> Arc<Run> {
    Arc::new(Run::open(folder.path(), Prices::default(), None).unwrap())
}

async fn ask(
    teacher: &HttpTeacher,
    run: &Arc<Run>,
    step: &str,
    number: usize,
    call: &Call,
) -> Result<Reply, CallError> {
    let context = CallContext { run, key: &key(number), step, call, correction: None };
    tokio::time::timeout(FOREVER, teacher.answer(context)).await.expect("the call hangs")
}

fn with_schema() -> Call {
    Call { schema: Some(json!({"type": "object", "required": ["score"]})), ..call("Rate it.") }
}

/// A fault of the teacher must not drop rows, and must show before thousands of calls are paid for.
#[tokio::test]
async fn the_run_stops_when_the_first_calls_of_a_step_are_all_rejected_alike() {
    let (app, _) = endpoint(|body, _| match body["max_tokens"].as_u64() {
        Some(300) => refuse(400, "no such thing"),
        _ => Json(completion()).into_response(),
    });
    let (teacher, folder) = (connect(app, 4, None).await, tempfile::tempdir().unwrap());
    let run = run(&folder);
    // Another step that is answered says nothing about this one.
    let writer = Call { max_tokens: 200, ..call("Hello") };
    assert!(ask(&teacher, &run, "assistant_1", 100, &writer).await.is_ok());
    for number in [1, 1, 1].into_iter().chain(2..20) {
        let refused = ask(&teacher, &run, "quality", number, &call("Hello")).await;
        assert!(
            matches!(&refused, Err(CallError::RejectedEarly(words)) if words.contains("thing")),
            "{refused:?}"
        );
    }
    let refused = ask(&teacher, &run, "quality", 20, &call("Hello")).await;
    let Err(CallError::Unusable(error)) = refused else { panic!("{refused:?}") };
    let error = error.to_string();
    assert!(error.contains("step `quality`") && error.contains("400 Bad Request: no such thing"), "{error}");
}

/// An endpoint that is changed in the middle of a run refuses everything from then on.
#[tokio::test]
async fn after_an_answer_a_rejection_concerns_its_row_until_there_are_twenty_in_a_row() {
    let (app, _) = endpoint(|_, number| match number {
        0 | 10 => Json(completion()).into_response(),
        5 => refuse(422, "another thing"),
        _ => refuse(400, "no such thing"),
    });
    let (teacher, folder) = (connect(app, 1, None).await, tempfile::tempdir().unwrap());
    let run = run(&folder);
    for number in 0..30 {
        let answer = ask(&teacher, &run, "assistant_1", number, &call("Hello")).await;
        let is_answered = matches!(number, 0 | 10);
        assert!(is_answered == answer.is_ok(), "{number}: {answer:?}");
        assert!(is_answered || matches!(answer, Err(CallError::Rejected(Some(400 | 422), _))), "{answer:?}");
    }
    let stopped = ask(&teacher, &run, "assistant_2", 30, &call("Hello")).await;
    assert!(matches!(stopped, Err(CallError::Unusable(_))), "all turns are one step: {stopped:?}");
}

/// A portal in front of the endpoint answers every call with status 200, and each is paid for.
#[tokio::test]
async fn the_run_stops_when_twenty_responses_cannot_be_read_and_shows_them() {
    let (app, bodies) = endpoint(|_, number| match number {
        0 => Json(completion()).into_response(),
        _ => "<html>Sign in</html>".into_response(),
    });
    let (teacher, folder) = (connect(app, 20, None).await, tempfile::tempdir().unwrap());
    let (run, call) = (run(&folder), call("Hello"));
    assert!(ask(&teacher, &run, "step", 0, &call).await.is_ok());
    let error = first_error(&teacher, &run, &call).await;
    assert!(error.contains("begins with: <html>Sign in</html>") && error.contains("20 responses"), "{error}");
    assert_eq!(bodies.lock().unwrap().len(), 21);
    let charged = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!((charged.calls, charged.completion_tokens), (20, 20 * 300), "each may have been billed");
}

/// Why the run stops when twenty calls are sent at once.
async fn first_error(teacher: &HttpTeacher, run: &Arc<Run>, call: &Call) -> String {
    let calls = (1..=20).map(|number| ask(teacher, run, "step", number, call));
    let mut calls: futures::stream::FuturesUnordered<_> = calls.collect();
    match futures::StreamExt::next(&mut calls).await.unwrap() {
        Err(CallError::Unusable(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// What broke off was billed as the endpoint counts it, not at its worst case.
#[tokio::test]
async fn an_answer_that_broke_off_is_tried_again_and_charged_by_its_counts() {
    let (app, _) = endpoint(|_, number| {
        let mut body = completion();
        body["choices"][0]["finish_reason"] =
            json!(if number == 0 { "insufficient_system_resource" } else { "stop" });
        Json(body).into_response()
    });
    let (teacher, folder) = (connect(app, 1, None).await, tempfile::tempdir().unwrap());
    let run = run(&folder);
    assert_eq!(ask(&teacher, &run, "step", 1, &call("Hello")).await.unwrap().text, "Hi.");
    let charged = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Failed);
    assert_eq!((charged.calls, charged.prompt_tokens, charged.completion_tokens), (1, 10, 5));
}

#[tokio::test]
async fn a_parameter_that_is_refused_is_left_out_of_all_further_calls() {
    let (app, bodies) = endpoint(|body, _| {
        let unsupported = |name: &str| {
            refuse(400, &format!("Unsupported parameter: '{name}' is not supported with this model."))
        };
        let sent = |name: &str| body.get(name).is_some();
        match () {
            () if sent("max_tokens") => unsupported("max_tokens"),
            () if sent("temperature") => unsupported("temperature"),
            () if sent("seed") => refuse(400, "Unknown name \"seed\": Cannot find field."),
            () => Json(completion()).into_response(),
        }
    });
    let (teacher, folder) = (connect(app, 1, None).await, tempfile::tempdir().unwrap());
    let run = run(&folder);
    for number in 0..3 {
        assert_eq!(ask(&teacher, &run, "step", number, &call("Hello")).await.unwrap().text, "Hi.");
    }
    let bodies = bodies.lock().unwrap();
    assert_eq!(bodies.len(), 3 + 3, "three refusals, once");
    let last = bodies.last().unwrap();
    assert_eq!((&last["max_completion_tokens"], &last["top_p"]), (&json!(300), &json!(1.0)));
    let refused = LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Refused);
    assert_eq!((refused.calls, refused.cost().tokens), (3, 0), "a refusal costs nothing");
}

#[tokio::test]
async fn json_is_asked_for_in_words_where_no_format_is_taken() {
    let (app, bodies) = endpoint(|body, _| match body.get("response_format") {
        Some(_) => refuse(400, "This response_format type is unavailable now"),
        None => Json(completion()).into_response(),
    });
    let (teacher, folder) = (connect(app, 1, None).await, tempfile::tempdir().unwrap());
    let run = run(&folder);
    for number in 0..2 {
        assert!(ask(&teacher, &run, "quality", number, &with_schema()).await.is_ok());
    }
    let bodies = bodies.lock().unwrap();
    let formats: Vec<&Value> = bodies.iter().map(|body| &body["response_format"]["type"]).collect();
    assert_eq!(formats, [&json!("json_schema"), &json!("json_object"), &Value::Null, &Value::Null]);
    let words =
        |body: &Value| body["messages"][0]["content"].as_str().unwrap().contains("\"required\":[\"score\"]");
    assert_eq!(bodies.iter().map(words).collect::<Vec<_>>(), [false, true, true, true]);
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_shown_with_its_error() {
    let (app, bodies) = endpoint(|_, _| Json(completion()).into_response());
    let (teacher, folder) = (connect(app, 1, None).await, tempfile::tempdir().unwrap());
    let correction = Correction { answer: "Fine.".to_owned(), error: "not JSON".to_owned() };
    let call = with_schema();
    let context = CallContext {
        run: &run(&folder),
        key: &key(1),
        step: "s",
        call: &call,
        correction: Some(&correction),
    };
    assert!(teacher.answer(context).await.is_ok());
    assert_eq!(bodies.lock().unwrap()[0]["messages"][1], json!({"role": "assistant", "content": "Fine."}));
}

/// The prompt fits; what is too long is the answer that was asked for. Nothing is remembered: another prompt has other room.
#[tokio::test]
async fn a_call_that_asks_for_too_long_an_answer_asks_for_a_shorter_one() {
    let (app, bodies) = endpoint(|body, _| match body["max_tokens"].as_u64() {
        Some(..=247) => Json(completion()).into_response(),
        _ => refuse(
            400,
            "This model's maximum context length is 324 tokens. However, you requested 377 tokens (77 in the messages, 300 in the completion).",
        ),
    });
    let (teacher, folder) = (connect(app, 1, None).await, tempfile::tempdir().unwrap());
    let run = run(&folder);
    for number in 0..2 {
        assert!(ask(&teacher, &run, "step", number, &call("Hello")).await.is_ok());
    }
    let asked: Vec<u64> =
        bodies.lock().unwrap().iter().map(|body| body["max_tokens"].as_u64().unwrap()).collect();
    assert_eq!(asked, [300, 247, 300, 247]);
}

#[tokio::test]
async fn an_endpoint_without_raw_completions_ends_the_run_with_what_to_do() {
    for (status, message) in [(404, "Not Found"), (400, "The requested operation is unsupported.")] {
        let (app, _) = match status {
            404 => endpoint(|_, _| refuse(404, "Not Found")),
            _ => endpoint(|_, _| refuse(400, "The requested operation is unsupported.")),
        };
        let (teacher, folder) = (connect(app, 1, None).await, tempfile::tempdir().unwrap());
        let turn = Call { prompt: Prompt::User(vec![Message::new("user", "Hi")]), ..call("") };
        let refused = ask(&teacher, &run(&folder), "user_1", 1, &turn).await;
        let Err(CallError::Unusable(error)) = refused else { panic!("{refused:?}") };
        assert!(
            error.to_string().contains("--user-turns chat") && error.to_string().contains(message),
            "{error}"
        );
    }
}

/// Azure: a parameter of the address, and a header with the key. And a name, without which some gateways refuse.
#[tokio::test]
async fn headers_and_parameters_are_sent_with_every_request() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&seen);
    let note = move |headers: HeaderMap, uri: axum::http::Uri| {
        let is_named =
            headers.get(USER_AGENT).is_some_and(|name| name.to_str().unwrap().starts_with("smoltalk/"));
        let key = headers.get("api-key").map(HeaderValue::to_str).transpose().unwrap().map(str::to_owned);
        shared.lock().unwrap().push((uri.query().map(str::to_owned), key, is_named));
        async { Json(completion()) }
    };
    let app = Router::new().route("/v1/models", get(note.clone())).route("/v1/chat/completions", post(note));
    let name = serve_without_models(app).await;
    let (header, query) = (["api-key=PATH".to_owned()], ["api-version=2024-10-21".to_owned()]);
    let options = RequestOptions { header: &header, query: &query, ..RequestOptions::default() };
    let request = RequestSettings::read(&options, Role::Main).unwrap();
    let settings = EndpointSettings { request, ..settings(1, None) };
    let teacher = HttpTeacher::connect(&name, ChatTemplate::chatml(), &settings).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert!(ask(&teacher, &run(&folder), "step", 1, &call("Hello")).await.is_ok());
    let expected = (Some("api-version=2024-10-21".to_owned()), std::env::var("PATH").ok(), true);
    assert_eq!(*seen.lock().unwrap(), [expected.clone(), expected]);
}

/// A body that drips keeps a call until its time is over, and each may have been billed.
#[tokio::test]
async fn bodies_that_never_end_stop_the_run() {
    let drip = async || {
        let first = futures::stream::iter([Ok::<_, std::io::Error>("{\"choices\": [")]);
        axum::body::Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
    };
    let name = serve(Router::new().route("/v1/chat/completions", post(drip))).await;
    let settings = EndpointSettings { timeout: Duration::from_millis(300), ..settings(20, None) };
    let teacher = HttpTeacher::connect(&name, ChatTemplate::chatml(), &settings).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (run, call) = (run(&folder), call("Hello"));
    let error = first_error(&teacher, &run, &call).await;
    assert!(error.contains("20 responses in a row"), "{error}");
}

/// A server that forgets the end of its bodies; what is whole by itself is read.
#[tokio::test]
async fn a_whole_answer_without_the_end_of_its_body_is_read() {
    let unended = async || {
        let whole = futures::stream::iter([Ok(completion().to_string())]);
        let broken = futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(100)).await; // what is sent before arrives
            Err(std::io::Error::other("no last chunk"))
        });
        axum::body::Body::from_stream(futures::StreamExt::chain(whole, broken))
    };
    let name = serve(Router::new().route("/v1/chat/completions", post(unended))).await;
    let (teacher, folder) = (open(&name, 1, None).await, tempfile::tempdir().unwrap());
    assert_eq!(ask(&teacher, &run(&folder), "step", 1, &call("Hello")).await.unwrap().text, "Hi.");
}
