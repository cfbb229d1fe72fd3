use crate::programs::{posttrain, succeeds};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A tiny model made by the program itself, and data.
pub(crate) struct Workshop {
    pub(crate) folder: TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let workshop = Self { folder: tempfile::tempdir().unwrap() };
        let texts: Vec<Value> = (0..40)
            .map(|index| json!({"text": format!("The {index} cats sat on {} mats and slept.", index * 7 % 11)}))
            .collect();
        workshop.write("texts.jsonl", &texts);
        let chats: Vec<Value> = (0..24)
            .map(|index| {
                json!({"messages": [
                    {"role": "user", "content": format!("Count {index}.")},
                    {"role": "assistant", "content": format!("It is {}.", index * 3)},
                ]})
            })
            .collect();
        workshop.write("chats.jsonl", &chats);
        let pairs: Vec<Value> = (0..16)
            .map(|index| json!({"prompt": format!("Say {index}."), "chosen": format!("It is {index}."), "rejected": "No."}))
            .collect();
        workshop.write("pairs.jsonl", &pairs);
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "vocab_size": 288, "attention_bias": false, "mlp_bias": false,
            "initializer_range": 0.1, "bos_token_id": 0, "eos_token_id": 0,
        });
        std::fs::write(workshop.path("config.json"), config.to_string()).unwrap();
        let mut tokenizer = posttrain(workshop.folder.path());
        tokenizer.arg("tokenizer").arg("--data").arg(workshop.path("texts.jsonl"));
        succeeds(tokenizer.arg("--out").arg(workshop.path("tokenizer")).args(["--vocab-size", "284"]));
        succeeds(workshop.pretrain("base").args(["--tokens", "256", "--sequence-length", "64"]));
        workshop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, rows: &[Value]) {
        let text: Vec<String> = rows.iter().map(Value::to_string).collect();
        std::fs::write(self.path(name), text.join("\n")).unwrap();
    }

    /// Everything that the command writes is below `root`.
    fn command(&self, command: &str, root: &str) -> Command {
        let mut program = posttrain(self.folder.path());
        program.arg(command).arg("--out").arg(self.path(root).join("run"));
        program.arg("--cache").arg(self.path(root).join("cache"));
        program.args(["--precision", "f32", "--save-precision", "f32", "--learning-rate", "1e-2"]);
        program.env("RAYON_NUM_THREADS", "1");
        program
    }

    pub(crate) fn pretrain(&self, root: &str) -> Command {
        let mut command = self.command("pretrain", root);
        command.arg("--init").arg(self.path("config.json")).arg("--tokenizer").arg(self.path("tokenizer"));
        command.arg("--data").arg(self.path("texts.jsonl")).args([
            "--batch-tokens",
            "128",
            "--sequence-length",
            "32",
        ]);
        command
    }

    pub(crate) fn tune(&self, name: &str, data: &str, root: &str) -> Command {
        let mut command = self.command(name, root);
        command.arg("--model").arg(self.path("base/run")).arg("--data").arg(self.path(data));
        command.args(["--max-length", "64", "--batch-size", "2", "--steps", "6", "--save-steps", "2"]);
        command.args(["--save-total-limit", "1"]);
        command
    }
}
