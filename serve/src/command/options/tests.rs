//! Values of options, contradictions, keys and warnings.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::values::base_path;
use super::*;
use clap::Parser;

#[test]
fn sizes_and_seconds_are_read() {
    assert_eq!(bytes("4GiB").unwrap(), 4 << 30);
    assert_eq!((bytes("1.5k").unwrap(), bytes("2 MB").unwrap()), (1536, 2_000_000));
    assert_eq!((bytes_or_none("0").unwrap(), bytes_or_none("1k").unwrap()), (0, 1024));
    assert!(bytes("").is_err() && bytes("-1").is_err() && bytes("3 parsecs").is_err());
    assert_eq!(seconds("0.5").unwrap(), Duration::from_millis(500));
    assert!(seconds("-1").is_err() && seconds("nan").is_err());
    assert_eq!(share_of_memory(Some(16 << 30), 2), 2 << 30);
    assert_eq!((share_of_memory(Some(64 << 30), 1), share_of_memory(None, 3)), (4 << 30, 4 << 30));
}

#[test]
fn a_base_path_is_a_path() {
    assert_eq!(base_path("/llm/").unwrap(), "/llm");
    assert_eq!(base_path("/a/b").unwrap(), "/a/b");
    for wrong in ["", "/", "llm", "//llm", "/a b"] {
        assert!(base_path(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn contradictions_are_refused() {
    let parse = |arguments: &[&str]| Options::try_parse_from([&["smolserve"], arguments].concat());
    assert!(parse(&["--dtype", "f32", "--quantize", "q8_0"]).is_err());
    assert!(parse(&["--max-waiting", "0"]).is_err());
    let nothing = parse(&[]).unwrap().models().unwrap_err().to_string();
    for expected in
        ["--model", "--models", "checkpoint folder", "GGUF file", "Hugging Face id", "SmolLM2-135M-Instruct"]
    {
        assert!(nothing.contains(expected), "{nothing}");
    }
    let twice = parse(&["--model", "a/b", "--model", "c/b"]).unwrap();
    assert!(twice.models().unwrap_err().to_string().contains("two models are named `b`"));
    let page = parse(&["--model", "a/b", "--cors", "example.org"]).unwrap();
    assert!(page.settings().unwrap_err().to_string().contains("--cors"));
    assert!(parse(&["--lenient", "--strict"]).is_err());
}

#[test]
fn adapters_are_models_with_names_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "b",
    });
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    let folder = folder.path().display();
    let sources = |adapter: &str| {
        Options::try_parse_from(["smolserve", "--model", "base=b", "--adapter", adapter]).unwrap().models()
    };
    let models = sources(&format!("tuned={folder}")).unwrap();
    assert_eq!(models.groups.len(), 1, "both share the weights");
    let names: Vec<&str> = models.groups[0].served().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["base", "tuned"]);
    let adapter = format!("tuned={folder}");
    let other = ["smolserve", "--engine", "mistralrs", "--adapter", &adapter];
    let error = Options::try_parse_from(other).unwrap().models().unwrap_err().to_string();
    assert!(error.contains("only works with the native engine"), "{error}");
    for (adapter, expected) in [
        (format!("base={folder}"), "two models are named `base`"),
        (folder.to_string(), "has no name"),
        ("tuned=nowhere".to_owned(), "nowhere is no adapter"),
    ] {
        let error = sources(&adapter).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn keys_come_from_files_and_are_in_no_error() {
    let parse = |arguments: &[&str]| Options::try_parse_from([&["smolserve"], arguments].concat()).unwrap();
    for key in [" sk-SECRET", "sk-SECRET\n", "sk-SE\nCRET", ""] {
        let error = format!("{:#}", parse(&["--api-key", key]).settings().unwrap_err());
        assert!(error.contains("--api-key") && !error.contains("SECRET"), "{error}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one\n\n two \n").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(parse(&["--api-key-file", path]).settings().unwrap().api_keys, ["one", "two"]);
    std::fs::write(file.path(), "\n").unwrap();
    assert!(parse(&["--api-key-file", path]).settings().unwrap_err().to_string().contains("no API key"));
    let missing = format!("{:#}", parse(&["--api-key-file", "no/such/file"]).settings().unwrap_err());
    assert!(missing.contains("no/such/file"), "{missing}");
}

#[test]
fn an_open_server_is_warned_of() {
    let parse = |arguments: &[&str]| Options::try_parse_from([&["smolserve"], arguments].concat()).unwrap();
    for (arguments, is_exposed) in [
        (&[][..], false),
        (&["--host", "localhost"], false),
        (&["--host", "::1"], false),
        (&["--host", "0.0.0.0"], true),
        (&["--host", "192.168.1.5"], true),
        (&["--host", "0.0.0.0", "--api-key", "k"], false),
    ] {
        assert_eq!(parse(arguments).exposure().is_some(), is_exposed, "{arguments:?}");
    }
}
