//! Models of a folder: loaded when they are named, kept while they answer, unloaded when they are idle or in the way.

use super::behavior::error;
use super::client::{TestServer, settings, start, table};
use super::scripted::{Script, model};
use crate::model_folder::{FreeMemory, ModelFolder, Opener};
use crate::model_table::ModelTable;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

const CHAT: &str = "/v1/chat/completions";
const MIB: usize = 1 << 20;

/// Files that look like models to the folder; the script stands for what is in them.
fn write_models(folder: &Path, names: &[&str]) {
    for name in names {
        std::fs::write(folder.join(format!("{name}.gguf")), vec![0; 4096]).unwrap();
    }
}

/// Loads scripted models and counts how often; a model named `broken` cannot be loaded.
fn opener(script: Script, count: Arc<AtomicUsize>) -> Opener {
    Box::new(move |source| {
        count.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        anyhow::ensure!(source.name != "broken", "{} is not a GGUF file", source.location);
        Ok(crate::model::Model { name: source.name.clone(), ..model(script.clone()).0 })
    })
}

/// A server over a folder, its folder, and how often it has loaded a model.
async fn served(
    path: &Path,
    script: Script,
    unload_after: Option<Duration>,
    free_memory: FreeMemory,
) -> (TestServer, Arc<ModelFolder>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let opener = opener(script, Arc::clone(&count));
    let folder = Arc::new(ModelFolder::with(path.to_owned(), unload_after, 1, opener, free_memory));
    let server = start(settings(), None).await;
    let aliases = [("gpt-4o".to_owned(), "b".to_owned())].into();
    server.state.set_models(ModelTable { folder: Some(Arc::clone(&folder)), aliases, ..table(Vec::new()) });
    (server, folder, count)
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
}

fn unlimited() -> FreeMemory {
    Box::new(|| None)
}

fn names(server: &Value) -> Vec<(&str, bool)> {
    let entries = server["data"].as_array().unwrap().iter();
    entries.map(|entry| (entry["id"].as_str().unwrap(), entry["is_loaded"].as_bool().unwrap())).collect()
}

#[tokio::test]
async fn a_model_is_loaded_by_the_first_request_and_unloaded_when_it_is_idle() {
    let folder = tempfile::tempdir().unwrap();
    write_models(folder.path(), &["a", "b"]);
    let limit = Some(Duration::from_millis(60));
    let (server, models, count) = served(folder.path(), Script::default(), limit, unlimited()).await;
    assert_eq!(server.get("/health").await.status, 200);
    let listed = server.get("/v1/models").await.json();
    assert_eq!(names(&listed), [("a", false), ("b", false), ("gpt-4o", false)]);
    assert_eq!(server.get("/v1/models/b").await.json()["root"], "b");
    assert_eq!(count.load(Ordering::SeqCst), 0, "looking loads nothing");
    // Requests that come together load it once; the name that is missing is the first model's.
    let [body, missing] = [chat("a"), json!({"messages": [{"role": "user", "content": "Hi"}]})];
    let (one, two, three) =
        tokio::join!(server.post(CHAT, &body), server.post(CHAT, &body), server.post(CHAT, &missing));
    for reply in [one, two, three] {
        assert_eq!((reply.status, &reply.json()["model"]), (200, &json!("a")), "{}", reply.body);
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let aliased = server.post(CHAT, &chat("gpt-4o")).await.json();
    assert_eq!((&aliased["model"], count.load(Ordering::SeqCst)), (&json!("b"), 2));
    let listed = server.get("/v1/models").await.json();
    assert_eq!(names(&listed), [("a", true), ("b", true), ("gpt-4o", true)]);
    assert_eq!(listed["data"][2]["max_model_len"], 4096);
    tokio::time::sleep(Duration::from_millis(80)).await;
    models.unload_idle();
    assert!(models.loaded().is_empty());
    assert_eq!(server.post(CHAT, &chat("a")).await.status, 200);
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_model_that_answers_stays_and_the_one_unused_for_longest_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    write_models(folder.path(), &["a", "b", "c"]);
    let this: Arc<OnceLock<Weak<ModelFolder>>> = Arc::default();
    let known = Arc::clone(&this);
    // Room for two models, as 128 MiB are asked for beside the weights.
    let free = move || {
        let loaded = known.get().and_then(Weak::upgrade).map_or(0, |folder| folder.loaded().len());
        Some((300 * MIB).saturating_sub(loaded * 150 * MIB))
    };
    let slow = Script { delay: Duration::from_millis(40), ..Script::default() };
    let (server, models, _) = served(folder.path(), slow, None, Box::new(free)).await;
    this.set(Arc::downgrade(&models)).unwrap();
    let loaded = || models.loaded().iter().map(|model| model.name.clone()).collect::<Vec<_>>();
    for name in ["a", "b"] {
        assert_eq!(server.post(CHAT, &chat(name)).await.status, 200);
    }
    // `a` was used before `b`, so it goes.
    assert_eq!(server.post(CHAT, &chat("c")).await.status, 200);
    assert_eq!(loaded(), ["b", "c"]);
    let (chat_b, chat_c, chat_a) = (chat("b"), chat("c"), chat("a"));
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.post(CHAT, &chat_a).await
    };
    let (busy, also, refused) = tokio::join!(server.post(CHAT, &chat_b), server.post(CHAT, &chat_c), late);
    assert_eq!((busy.status, also.status, refused.status), (200, 200, 503), "{}", refused.body);
    assert_eq!(error(&refused)["code"], "model_memory");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(error(&refused)["message"].as_str().unwrap().contains("needs about 128 MiB"), "{}", refused.body);
    assert_eq!(server.post(CHAT, &chat_a).await.status, 200);
    // Without a limit nothing is unloaded for being idle.
    models.unload_idle();
    assert_eq!(models.loaded().len(), 2);
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_costs_the_others_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_models(folder.path(), &["a", "broken"]);
    let (server, models, count) = served(folder.path(), Script::default(), None, unlimited()).await;
    let refused = server.post(CHAT, &chat("broken")).await;
    assert_eq!((refused.status, error(&refused)["code"].as_str()), (500, Some("model_load_failed")));
    assert!(!refused.body.contains(folder.path().to_str().unwrap()), "{}", refused.body);
    assert_eq!(server.post(CHAT, &chat("a")).await.status, 200);
    let unknown = server.post(CHAT, &chat("later")).await;
    assert_eq!((unknown.status, error(&unknown)["code"].as_str()), (404, Some("model_not_found")));
    write_models(folder.path(), &["later"]);
    assert_eq!(server.post(CHAT, &chat("later")).await.status, 200);
    std::fs::remove_file(folder.path().join("broken.gguf")).unwrap();
    let listed = server.get("/v1/models").await.json();
    assert_eq!(names(&listed), [("a", true), ("later", true)]);
    // A client that leaves while its model is loaded leaves a loaded model.
    write_models(folder.path(), &["left"]);
    let body = chat("left").to_string();
    let connection = server.send("POST", CHAT, "", body.as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(15)).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(models.loaded().iter().any(|model| model.name == "left"));
    assert_eq!(count.load(Ordering::SeqCst), 4);
}
