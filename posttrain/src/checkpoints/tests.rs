//! Damage to checkpoints: what is resumed from, and what is refused again and again.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use checkpoint::folder::CheckpointWriter;
use checkpoint::weights::Precision;
use checkpoint::{ChatTemplate, Inherited, ModelConfig, Tokenizer};
use tempfile::TempDir;

/// A tiny model, its tokenizer, and a folder of checkpoints.
pub(crate) struct Fixture {
    folder: TempDir,
    pub(crate) parameters: Parameters,
    tokenizer: Tokenizer,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let tokenizer = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
        });
        let config = ModelConfig {
            layers: 1,
            hidden_size: 8,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            intermediate_size: 12,
            vocab_size: 5,
            ..ModelConfig::smollm2_135m()
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            parameters: Parameters::random(&config, 1, false),
            tokenizer: Tokenizer::from_json(&tokenizer.to_string()).unwrap(),
        }
    }

    /// The files besides the weights.
    pub(crate) fn prepared(&self) -> PreparedCheckpoint {
        let (config, template) = (&self.parameters.config, ChatTemplate::chatml());
        let outgoing = CheckpointWriter {
            config,
            tokenizer: &self.tokenizer,
            tokenizer_config: &Map::new(),
            generation_config: &Map::new(),
            inherited: &Inherited::default(),
            template: Some(&template),
            adapter: None,
        };
        outgoing.prepare(Precision::F32).unwrap()
    }

    fn save(&self, step: u64) -> PathBuf {
        let mut parameters = self.parameters.clone();
        parameters.values[0] = step as f32;
        let mut optimizer = Optimizer::new(parameters.values.len());
        optimizer.mean[1] = -0.5;
        let state = TrainingState { parameters, optimizer };
        let progress = Progress {
            step,
            num_tokens: 10 * step,
            seconds: 0.5,
            best: Some((1, 0.1)),
            ..Progress::default()
        };
        let run = Map::from_iter([("command".to_owned(), Value::from("sft"))]);
        save(self.folder.path(), &self.prepared(), state, &progress, &run).unwrap();
        folder_of(self.folder.path(), step)
    }

    fn load(&mut self) -> Result<Newest> {
        load_newest(self.folder.path(), &mut self.parameters)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = names(self.folder.path(), "").collect();
        names.sort();
        names
    }
}

fn step_of(newest: &Newest) -> u64 {
    newest.checkpoint.as_ref().unwrap().0.step
}

#[test]
fn a_checkpoint_is_read_as_written() {
    let mut fixture = Fixture::new();
    assert!(fixture.load().unwrap().checkpoint.is_none());
    let folder = fixture.save(4);
    let newest = fixture.load().unwrap();
    let (progress, optimizer) = newest.checkpoint.as_ref().unwrap();
    assert_eq!((progress.num_tokens, progress.seconds, progress.best), (40, 0.5, Some((1, 0.1))));
    assert_eq!((optimizer.mean[1], optimizer.step, fixture.parameters.values[0]), (-0.5, 4, 4.0));
    assert!(newest.damage.is_none() && newest.unreadable.is_empty());
    assert_eq!(recorded_run(fixture.folder.path()).unwrap().0["command"], "sft");
    Manifest::read(&folder.join(FILE_NAME)).unwrap().unwrap().check(&folder, Depth::Checksums).unwrap();
}

/// A hundred single bits of the state: each is noticed, and the checkpoint before is resumed from.
#[test]
fn no_bit_of_a_state_flips_silently() {
    let mut fixture = Fixture::new();
    let path = fixture.save(2).join(state::FILE);
    let whole = std::fs::read(&path).unwrap();
    for flip in 0..100 {
        let (mut bytes, bit) = (whole.clone(), flip * 15_485_863 % (8 * whole.len()));
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        let state = state::read(path.parent().unwrap(), fixture.parameters.layout.len());
        // A bit of the header's white space, or of the key of an entry that nobody reads.
        let is_harmless =
            state.as_ref().is_ok_and(|state| state.progress.step == 2 && state.weights[0] == 2.0);
        assert!(state.is_err() || (is_harmless && bit / 8 < whole.len() / 2), "bit {bit}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(step_of(&fixture.load().unwrap()), 2);
}

/// What a power loss leaves of the newest state, again and again at the same step: the one before is used each time.
#[test]
fn a_damaged_state_is_passed_over_and_keeps_its_number() {
    let mut fixture = Fixture::new();
    fixture.save(2);
    let path = fixture.save(4).join(state::FILE);
    let whole = std::fs::read(&path).unwrap();
    let half = whole.len() / 2;
    let damages = [
        Vec::new(),
        vec![0; whole.len()],
        whole[..half].to_vec(),
        [&whole[..half], &vec![0; whole.len() - half]].concat(),
    ];
    for bytes in damages {
        std::fs::write(fixture.save(4).join(state::FILE), bytes).unwrap();
        let newest = fixture.load().unwrap();
        assert_eq!((step_of(&newest), newest.unreadable.len()), (2, 1));
        assert!(newest.unreadable[0].contains("step-4 cannot be read"), "{:?}", newest.unreadable);
    }
    let expected = [
        "replaced-step-4",
        "step-2",
        "unreadable-step-4",
        "unreadable-step-4-2",
        "unreadable-step-4-3",
        "unreadable-step-4-4",
    ];
    assert_eq!(fixture.names(), expected);
}

#[test]
fn a_refusal_stays_a_refusal() {
    let mut fixture = Fixture::new();
    std::fs::write(fixture.save(2).join(state::FILE), "").unwrap();
    for _ in 0..3 {
        let error = fixture.load().unwrap_err().to_string();
        assert!(error.contains("no checkpoint is left") && error.contains("`--restart`"), "{error}");
    }
    assert_eq!(fixture.names(), ["unreadable-step-2"]);
}

/// Only the state decides: damage to the other files is reported, and the checkpoint is still resumed from.
#[test]
fn damage_to_other_files_takes_no_weights_down() {
    let mut fixture = Fixture::new();
    for name in ["model.safetensors", "config.json", FILE_NAME] {
        for bytes in [Some(""), Some("{"), None] {
            let path = fixture.save(2).join(name);
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let newest = fixture.load().unwrap();
            assert_eq!(step_of(&newest), 2);
            assert!(newest.damage.unwrap().contains(name), "{name}");
        }
    }
}

/// Checkpoints of the version before: the progress in a file of its own, no checksum, no list.
#[test]
fn old_checkpoints_are_read() {
    let mut fixture = Fixture::new();
    let folder = folder_of(fixture.folder.path(), 3);
    std::fs::create_dir(&folder).unwrap();
    let count = fixture.parameters.values.len();
    let tensors = ["weights", "mean", "square"].map(|name| (name.to_owned(), vec![count], vec![0.25; count]));
    checkpoint::weights::write(&folder.join(state::FILE), &tensors, Precision::F32).unwrap();
    let progress = r#"{"step": 3, "num_tokens": 7, "seconds": 1.5, "best": null}"#;
    std::fs::write(folder.join("training_state.json"), progress).unwrap();
    let newest = fixture.load().unwrap();
    assert_eq!((step_of(&newest), fixture.parameters.values[0]), (3, 0.25));
    assert!(newest.damage.is_none());
    std::fs::write(folder.join("training_state.json"), "").unwrap();
    assert!(fixture.load().is_err());
}

#[test]
fn old_checkpoints_go_whole_and_the_best_one_stays() {
    let fixture = Fixture::new();
    (1..5).for_each(|step| drop(fixture.save(step)));
    std::fs::create_dir(fixture.folder.path().join(".writing-left")).unwrap();
    rotate(fixture.folder.path(), 1, Some(2)).unwrap();
    assert_eq!(fixture.names(), ["step-2", "step-4"]);
}
