//! Resolves `device` and `micro_batch_tokens` for this machine: where a run computes, and in micro-batches of which size.
//!
//! Neither is part of a run's identity: a checkpoint resumes on any device, and `auto` may be another size on another
//! GPU. What they were resolved to is recorded in run.json under `machine`.

use crate::device::{DeviceChoice, MicroBatch};
use crate::run::RunFolder;
use crate::settings::TrainingSettings;
use anyhow::{Result, bail};
use checkpoint::ModelConfig;
use serde_json::{Map, Value};
use training::memory::{AdapterSize, FreeMemory, Lengths, Plan, gib};
use training::{ComputeSettings, Device, DeviceInfo, Kept, check_architecture, slow_paths};

/// Tokens of an automatic micro-batch on the CPU.
const CPU_TOKENS: usize = 4096;

/// The size of what a run trains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainedSize<'a> {
    pub(crate) config: &'a ModelConfig,
    /// Set if the weights are frozen.
    pub(crate) adapter: Option<AdapterSize>,
}

/// Returns how a run computes on this machine, and records it in `about`.
///
/// # Errors
/// When the device is not there or cannot be used, or its memory is too small; names the parts and what to change.
pub(crate) fn resolve(
    settings: &TrainingSettings,
    TrainedSize { config, adapter }: TrainedSize<'_>,
    lengths: Lengths,
    folder: &RunFolder,
    about: &mut Map<String, Value>,
) -> Result<ComputeSettings> {
    let DeviceInfo { device, name, free_memory, decisive } = match adapter {
        Some(_) => adapter_device(settings.device)?,
        None => find_device(settings.device, config)?,
    };
    let precision = settings.precision.into();
    let plan = Plan::new(config, precision, settings.layer_checkpointing).with_adapter(adapter);
    let mut notes = Vec::new();
    let free_memory = free_memory.map(|bytes| FreeMemory { gpu: &name, bytes });
    let micro_batch_tokens = match (settings.micro_batch_tokens, free_memory) {
        (MicroBatch::Tokens(tokens), _) => tokens,
        (MicroBatch::Auto, None) => CPU_TOKENS,
        (MicroBatch::Auto, Some(free)) => {
            let most = plan.largest_micro_batch(lengths, free)?;
            // An interrupted run continues with its size, so that it ends with the same bits.
            let earlier = recorded_tokens(folder, &name);
            notes.extend(earlier.and_then(|earlier| smaller_than_before(earlier, most)));
            earlier.map_or(most, |earlier| earlier.min(most))
        }
    };
    let mut machine = about.remove("machine").unwrap_or_default();
    machine["device"] = name.clone().into();
    let longest = micro_batch_tokens.max(lengths.longest);
    let most = free_memory.and_then(|free| plan.most_tokens(free.bytes));
    let plan = match free_memory {
        Some(free) => plan.with_norms_that_fit(longest, free.bytes),
        None => plan,
    };
    let keep_norms = plan.kept() == Kept::LayersAndNorms;
    if let Some(free) = free_memory {
        let estimate = plan.check(longest, lengths, free)?;
        terminal::message!(
            "{name}: the plan takes {}; {} GiB are free; the host keeps {} GiB of weights and moments",
            estimate.line(),
            gib(free.bytes),
            gib(plan.host_bytes())
        );
        if let Some(note) = larger_is_possible(micro_batch_tokens, most, lengths) {
            terminal::message!("note: {note}");
        }
        if Plan::is_tight(&estimate, free.bytes) {
            let left = gib(free.bytes - estimate.total());
            terminal::message!(
                "note: the plan leaves {left} GiB of {name} free; give a smaller `--micro-batch-tokens` if memory runs out"
            );
        }
        machine["memory_estimate"] = estimate.to_json();
        machine["host_memory_estimate"] = plan.host_bytes().into();
        machine["gpu"] = decisive.clone();
        notes.extend(slow_paths(config, precision).into_iter().map(|slow| format!("slow on {name}: {slow}")));
        notes.extend(other_arithmetic(&recorded_machine(folder)["gpu"], &decisive));
    }
    if adapter.is_some() {
        let (of_adapter, of_all) = (plan.state(), plan.with_adapter(None).state());
        machine["memory_estimate"] = of_adapter.to_json();
        terminal::message!(
            "weights, gradients and moments take {}; training all weights would take {} GiB",
            of_adapter.line(),
            gib(of_all.total())
        );
    }
    machine["micro_batch_tokens"] = micro_batch_tokens.into();
    about.insert("machine".to_owned(), machine);
    if let Some(all) = about.get_mut("notes").and_then(Value::as_array_mut) {
        all.extend(notes.into_iter().map(Value::from));
    }
    Ok(ComputeSettings {
        device,
        precision,
        micro_batch_tokens,
        layer_checkpointing: settings.layer_checkpointing,
        keep_norms,
    })
}

fn adapter_device(choice: DeviceChoice) -> Result<DeviceInfo> {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => DeviceInfo::of(Device::Cpu),
        DeviceChoice::Cuda(_) => bail!(
            "`device` is {choice}, but adapters (`--lora-rank`) are only trained on the CPU; give `--device cpu`, or train all weights"
        ),
    }
}

fn find_device(choice: DeviceChoice, config: &ModelConfig) -> Result<DeviceInfo> {
    match choice {
        DeviceChoice::Cpu => DeviceInfo::of(Device::Cpu),
        DeviceChoice::Cuda(ordinal) => {
            check_architecture(Device::Cuda(ordinal), config)?;
            DeviceInfo::of(Device::Cuda(ordinal))
        }
        DeviceChoice::Auto => {
            let (best, mut note) = DeviceInfo::best();
            let refusal = check_architecture(best.device, config).err();
            let device = if refusal.is_some() { DeviceInfo::of(Device::Cpu)? } else { best };
            note = refusal.map(|reason| format!("training on the CPU: {reason}")).or(note);
            if let Some(note) = note {
                terminal::message!("note: {note}");
            }
            Ok(device)
        }
    }
}

/// Returns the size that `auto` was resolved to when the run in this folder last computed on a device of this name.
fn recorded_tokens(folder: &RunFolder, device: &str) -> Option<usize> {
    let run = recorded_run(folder)?;
    let same = run["configuration"]["micro_batch_tokens"] == "auto" && run["machine"]["device"] == device;
    Some(run["machine"]["micro_batch_tokens"].as_u64().filter(|_| same)? as usize)
}

/// Returns the machine of the run that is resumed; null if there is none.
fn recorded_machine(folder: &RunFolder) -> Value {
    recorded_run(folder).map(|run| run["machine"].clone()).unwrap_or_default()
}

/// Returns the run.json of the run that is resumed.
fn recorded_run(folder: &RunFolder) -> Option<Value> {
    if folder.restart {
        return None;
    }
    let text = std::fs::read(folder.out.join("run.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Returns a note if micro-batches of at least twice the size would fit, of `most` tokens that do, and the steps have them.
fn larger_is_possible(tokens: usize, most: Option<usize>, lengths: Lengths) -> Option<String> {
    let larger = most?.min(lengths.step);
    (larger >= 2 * tokens.max(lengths.longest)).then(|| {
        format!("micro-batches have {tokens} tokens; `--micro-batch-tokens auto` would take {larger}, which is faster on a GPU")
    })
}

/// Returns a note if micro-batches are smaller than they were before the run was resumed.
fn smaller_than_before(earlier: usize, most: usize) -> Option<String> {
    (most < earlier).then(|| {
        format!(
            "`--micro-batch-tokens auto` was {earlier} tokens before this resume and is {most} now, because less of the GPU's memory is free: the last bits differ from those of a run that was not interrupted"
        )
    })
}

/// Returns a note on what decides the last bits of a GPU's results and is not what it was before the run was resumed.
fn other_arithmetic(before: &Value, now: &Value) -> Option<String> {
    let (before, now) = (before.as_object()?, now.as_object()?);
    let names = now.keys().chain(before.keys().filter(|name| !now.contains_key(*name)));
    let changes: Vec<String> = names
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| {
            let value = |facts: &Map<String, Value>| facts.get(name).cloned().unwrap_or_default();
            format!("{name} {} instead of {}", value(now), value(before))
        })
        .collect();
    (!changes.is_empty()).then(|| {
        format!(
            "resumed with {}: the last bits differ from those of a run that was not interrupted",
            changes.join(", ")
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn run_folder(folder: &std::path::Path) -> RunFolder {
        RunFolder { out: folder.to_owned(), restart: false, accept_changes: false, no_lock: false }
    }

    #[test]
    fn the_cpu_takes_the_size_that_is_set_and_it_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let lengths = Lengths { longest: 1024, step: 16_384 };
        for (micro_batch_tokens, expected) in [(MicroBatch::Auto, CPU_TOKENS), (MicroBatch::Tokens(7), 7)] {
            let settings = TrainingSettings {
                device: DeviceChoice::Cpu,
                micro_batch_tokens,
                ..TrainingSettings::default()
            };
            let mut about = Map::new();
            let config = ModelConfig::smollm2_135m();
            let compute = resolve(
                &settings,
                TrainedSize { config: &config, adapter: None },
                lengths,
                &run_folder(folder.path()),
                &mut about,
            )
            .unwrap();
            assert_eq!((compute.micro_batch_tokens, compute.device), (expected, Device::Cpu));
            assert_eq!(about["machine"]["device"], "cpu");
            assert_eq!(about["machine"]["micro_batch_tokens"], expected);
        }
    }

    #[test]
    fn an_adapter_is_trained_on_the_cpu_or_refused_by_name() {
        assert_eq!(adapter_device(DeviceChoice::Auto).unwrap().device, Device::Cpu);
        let error = adapter_device(DeviceChoice::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("`--lora-rank`") && error.contains("`--device cpu`"), "{error}");
    }

    #[test]
    fn another_family_is_trained_on_the_cpu_or_refused_by_name() {
        let mut config = ModelConfig::smollm2_135m();
        config.architecture.has_biases = true;
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu] {
            assert_eq!(find_device(choice, &config).unwrap().device, Device::Cpu);
        }
        let error = find_device(DeviceChoice::Cuda(0), &config).unwrap_err().to_string();
        assert!(error.contains("biases of queries") && error.contains("`--device cpu`"), "{error}");
    }

    #[test]
    fn a_resume_under_another_driver_or_library_says_so() {
        let gpu = |driver: &str, products: &str| serde_json::json!({"name": "NVIDIA H200", "driver": driver, "products": products});
        let before = gpu("13.0", "cuBLAS 13.1.0");
        assert_eq!(other_arithmetic(&before, &before), None);
        assert_eq!(other_arithmetic(&Value::Null, &before), None);
        let note = other_arithmetic(&before, &gpu("13.1", "cuBLAS 13.2.0")).unwrap();
        for part in
            ["driver \"13.1\" instead of \"13.0\"", "products \"cuBLAS 13.2.0\"", "the last bits differ"]
        {
            assert!(note.contains(part), "{note}");
        }
        assert!(!note.contains("H200"), "{note}");
    }

    #[test]
    fn a_size_far_below_what_fits_is_said() {
        let lengths = Lengths { longest: 2048, step: 32_768 };
        let note = larger_is_possible(4096, Some(60_000), lengths).unwrap();
        assert!(note.contains("4096 tokens") && note.contains("would take 32768"), "{note}");
        assert_eq!(larger_is_possible(4096, Some(8000), lengths), None);
        assert_eq!(larger_is_possible(4096, Some(60_000), Lengths { step: 4096, ..lengths }), None);
        assert_eq!(larger_is_possible(4096, None, lengths), None);
    }

    #[test]
    fn a_smaller_automatic_size_is_said() {
        assert_eq!(smaller_than_before(5120, 5120), None);
        assert_eq!(smaller_than_before(5120, 9000), None);
        let note = smaller_than_before(5120, 4096).unwrap();
        assert!(note.contains("was 5120 tokens") && note.contains("is 4096 now"), "{note}");
    }

    #[test]
    fn a_resumed_run_continues_with_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let write = |micro_batch_tokens: &str, device: &str| {
            let run = serde_json::json!({
                "configuration": {"micro_batch_tokens": micro_batch_tokens},
                "machine": {"device": device, "micro_batch_tokens": 5120},
            });
            std::fs::write(folder.path().join("run.json"), run.to_string()).unwrap();
        };
        let recorded = || recorded_tokens(&run_folder(folder.path()), "cuda:0 (a GPU)");
        assert_eq!(recorded(), None);
        write("auto", "cuda:0 (a GPU)");
        assert_eq!(recorded(), Some(5120));
        write("auto", "cpu");
        assert_eq!(recorded(), None);
        write("5120", "cuda:0 (a GPU)");
        assert_eq!(recorded(), None);
    }
}
