//! `posttrain tokenizer` from rows to a folder that this project and transformers read.

use checkpoint::Tokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tests::shared_data;

const FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "checksums.json"];

fn train(data: &[PathBuf], out: &Path, more: &[&str]) -> Output {
    train_with(data, out, more, &[])
}

fn train_with(data: &[PathBuf], out: &Path, more: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = crate::programs::program("posttrain");
    command.arg("tokenizer").arg("--data").args(data).arg("--out").arg(out).args(more);
    command.envs(environment.iter().copied()).output().unwrap()
}

fn trained(data: &[PathBuf], out: &Path, more: &[&str]) -> (Tokenizer, String) {
    let output = train(data, out, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tokenizer = Tokenizer::open(&out.join("tokenizer.json")).unwrap();
    (tokenizer, String::from_utf8(output.stdout).unwrap())
}

/// Texts, conversations and pairs, full of words seen equally often; a word stands in one kind of row only.
fn write_data(folder: &Path) -> Vec<PathBuf> {
    let names = ["anchor", "harbour", "lantern", "compass", "rigging", "tiller", "ballast", "windlass"];
    let say = |index: usize| {
        let (one, other) = (names[index % 8], names[index * 5 % 8]);
        format!(
            "The {one}'s {other}s, 20{index:02}:\n\n\tone {other}  and ====== a “naïve” {one}?! 東京 🙂\r\n"
        )
    };
    let message = |role: &str, content: String| json!({"role": role, "content": content});
    let texts: Vec<Value> = (0..40).map(|index| json!({"text": say(index) + " paragraph"})).collect();
    let chats: Vec<Value> = (0..20)
        .map(|index| {
            let messages = [message("user", say(index)), message("assistant", "conversation".to_owned())];
            json!({"messages": messages})
        })
        .collect();
    let pairs: Vec<Value> = (0..20)
        .map(|index| {
            let reply = |word: &str| vec![message("assistant", word.to_owned())];
            json!({
                "prompt": [message("user", say(index) + " question")],
                "chosen": reply("preferable"),
                "rejected": reply("inferior"),
            })
        })
        .collect();
    let write = |name: &str, rows: Vec<Value>| {
        let path = folder.join(name);
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    std::fs::create_dir(folder.join("rows")).unwrap();
    write("rows/chats.jsonl", chats);
    write("rows/pairs.jsonl", pairs);
    vec![write("texts.jsonl", texts), folder.join("rows")]
}

#[test]
fn a_trained_tokenizer_is_set_up_as_smollm2s() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    let out = folder.path().join("out");
    let (tokenizer, said) = trained(&data, &out, &["--vocab-size", "600"]);
    assert!(said.contains("80 documents") && said.contains("bytes per token"), "{said}");
    assert!(tokenizer.vocab_size() > 273 && tokenizer.vocab_size() <= 600, "{said}");
    assert_eq!(tokenizer.special_ids(), (0..17).collect::<Vec<u32>>());
    for (id, token) in [(0, "<|endoftext|>"), (1, "<|im_start|>"), (2, "<|im_end|>"), (16, "<empty_output>")]
    {
        assert_eq!(tokenizer.id(token), Some(id));
        assert_eq!(tokenizer.encode(token).unwrap().ids, [id]);
    }
    assert_eq!(tokenizer.encode("2024").unwrap().ids.len(), 4, "every digit is a token");
    for word in ["paragraph", "conversation", "question", "preferable", "inferior"] {
        assert!(tokenizer.encode(&format!(" {word}")).unwrap().ids.len() <= 3, "{word} was learned");
    }
    if let Some(shared) = shared_data() {
        let all_but_words = |path: &Path| {
            let mut file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            for large in ["vocab", "merges"] {
                file["model"][large] = Value::Null;
            }
            file
        };
        let smollm2 = shared.join("models/smollm2-tokenizer/tokenizer.json");
        assert_eq!(all_but_words(&out.join("tokenizer.json")), all_but_words(&smollm2));
    }
}

#[test]
fn any_text_comes_back_from_its_ids() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    let (tokenizer, _) = trained(&data, &folder.path().join("out"), &["--vocab-size", "600"]);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(500));
    let characters = prop_oneof![any::<char>(), prop::char::range(' ', '~'), Just('\n'), Just('東')];
    let texts = proptest::collection::vec(characters, 0..60);
    runner
        .run(&texts, |characters| {
            let text: String = characters.into_iter().collect();
            let ids = tokenizer.encode(&text).unwrap().ids;
            prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_same_data_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    let bytes = |name: &str, environment: &[(&str, &str)]| {
        let out = folder.path().join(name);
        let output = train_with(&data, &out, &["--vocab-size", "700", "--min-frequency", "1"], environment);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        FILES.map(|file| std::fs::read(out.join(file)).unwrap())
    };
    let first = bytes("first", &[]);
    assert!(first == bytes("again", &[]));
    for threads in ["1", "2", "5"] {
        assert!(first == bytes(threads, &[("RAYON_NUM_THREADS", threads)]), "{threads} threads");
    }
    assert!(first == bytes("serial", &[("TOKENIZERS_PARALLELISM", "0")]));
}

#[test]
fn a_small_wish_a_large_wish_and_few_documents() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    let (_, said) = trained(&data, &folder.path().join("small"), &["--vocab-size", "300"]);
    assert!(said.starts_with("vocabulary: 300 tokens\n"), "{said}");
    let (large, said) = trained(&data, &folder.path().join("large"), &[]);
    let expected = format!("vocabulary: {} tokens of the requested 49152", large.vocab_size());
    assert!(said.starts_with(&expected), "{said}");
    let (_, said) = trained(&data, &folder.path().join("few"), &["--max-documents", "7"]);
    assert!(said.contains("data: 7 documents"), "{said}");
}

#[test]
fn refusals_name_the_thing_and_leave_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    let (empty, missing) = (folder.path().join("empty.jsonl"), folder.path().join("missing"));
    std::fs::write(&empty, "{\"text\": \"\"}\n").unwrap();
    let broken = folder.path().join("broken.jsonl");
    std::fs::write(&broken, "{\"text\": \"whole\"}\n{\"text\": \"half\n").unwrap();
    let out = folder.path().join("out");
    let refused = |data: &[PathBuf], more: &[&str], expected: &[&str]| {
        let output = train(data, &out, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in expected {
            assert!(said.contains(part), "{said:?} lacks {part:?}");
        }
    };
    refused(&[data[0].clone(), missing.clone()], &[], &["--data", missing.to_str().unwrap()]);
    refused(std::slice::from_ref(&empty), &[], &["empty.jsonl", "no text"]);
    refused(&[data[0].clone(), broken], &[], &["broken.jsonl, line 2"]);
    refused(&data, &["--vocab-size", "200"], &["--vocab-size 200", "273"]);
    assert!(FILES.iter().all(|file| !out.join(file).exists()));

    trained(&data, &out, &["--vocab-size", "300"]);
    refused(&data, &["--vocab-size", "310"], &["out/tokenizer.json exists already", "`--restart`"]);
    let (tokenizer, _) = trained(&data, &out, &["--vocab-size", "310", "--restart"]);
    assert_eq!(tokenizer.vocab_size(), 310);
    let left = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
    let left = left.filter(|name| name != ".lock");
    assert_eq!(left.count(), FILES.len() + 1, "nothing is left beside the files and what was set aside");
    assert!(FILES.iter().all(|file| out.join("set-aside-1").join(file).exists()));
}

/// A folder with files of the user's is refused before anything is trained, with `--restart`, too.
#[test]
fn what_the_command_did_not_write_stays() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    for name in ["tokenizer_config.json", "special_tokens_map.json", "tokenizer.json", "README.md"] {
        let out = folder.path().join(format!("of {name}"));
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join(name), "mine").unwrap();
        for more in [&["--vocab-size", "300"][..], &["--vocab-size", "300", "--restart"]] {
            let output = train(&data, &out, more);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{name}: {text}");
            assert!(text.contains(name), "{text}");
            let names: Vec<_> =
                std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, [name]);
            assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), "mine");
        }
    }
    // Beside a tokenizer everything else may be.
    let out = folder.path().join("out");
    trained(&data, &out, &["--vocab-size", "300"]);
    std::fs::write(out.join("README.md"), "mine").unwrap();
    trained(&data, &out, &["--vocab-size", "310", "--restart"]);
    assert_eq!(std::fs::read_to_string(out.join("README.md")).unwrap(), "mine");
}

/// Prints the ids of the texts, the special tokens' names and the longest input, as AutoTokenizer has them.
const AUTO_TOKENIZER: &str = "
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
ids = [tokenizer(text)['input_ids'] for text in json.loads(sys.argv[2])]
names = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token]
decoded = [tokenizer.decode(row) for row in ids]
special = sorted(tokenizer.all_special_ids)
print(json.dumps([ids, decoded, names, tokenizer.model_max_length, len(tokenizer), special]))
";

#[test]
fn transformers_reads_the_folder() {
    let Ok(python) = std::env::var("SMOL_PYTHON") else {
        assert!(std::env::var("SMOL_REQUIRE_PYTHON").is_err(), "SMOL_PYTHON is not set");
        println!("skipped: SMOL_PYTHON is not set, AutoTokenizer is not tried");
        return;
    };
    let imported = Command::new(&python).args(["-c", "import transformers"]).output().unwrap();
    if !imported.status.success() {
        println!("skipped: {python} has no transformers, AutoTokenizer is not tried");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    let out = folder.path().join("out");
    let (tokenizer, _) = trained(&data, &out, &["--vocab-size", "600"]);
    let texts = [
        "The anchor's lanterns, 2024: 3.14159 and 100,000?",
        "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>",
        " leading , and trailing .  \n\n\tdon't !",
        "naïve 東京 🙂 \u{0}\u{7f} ===========",
        "",
    ];
    let samples = json!(texts).to_string();
    let output = Command::new(&python).args(["-c", AUTO_TOKENIZER]).arg(&out).arg(samples).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode(text).unwrap().ids).collect();
    assert_eq!(found[0], json!(expected));
    assert_eq!(found[1], json!(texts), "and back");
    assert_eq!(found[2], json!(["<|endoftext|>", "<|endoftext|>", "<|endoftext|>"]));
    assert_eq!(found[3], json!(8192));
    assert_eq!(found[4], json!(tokenizer.vocab_size()));
    assert_eq!(found[5], json!((0..17).collect::<Vec<u32>>()));
}
