use checkpoint::{ModelConfig, weights::Weights};
use half::bf16;
use kernels::Element;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use tests::{golden, write_hashed_weights};
use training::cpu::Model;
use training::{Batch, Parameters, Sequence};

/// A model of the goldens with its sequences; `make_gradient_goldens.py` made the numbers, the files'
/// metadata says how.
struct Case {
    name: &'static str,
    parameters: Parameters,
    /// Ids and masks; the longest last.
    sequences: Vec<(Vec<u32>, Vec<bool>)>,
    /// By name without the model's.
    numbers: BTreeMap<String, Vec<f32>>,
}

static TIED: LazyLock<Case> = LazyLock::new(|| Case::read("gradients_tiny.safetensors", "tied"));
static UNTIED: LazyLock<Case> = LazyLock::new(|| Case::read("gradients_tiny.safetensors", "untied"));
static SMOLLM2_135M: LazyLock<Case> = LazyLock::new(|| Case::read("gradients_135m.safetensors", "135m"));

impl Case {
    fn read(file: &str, name: &'static str) -> Self {
        let bytes = std::fs::read(golden("training").join(file)).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = &metadata.metadata().as_ref().unwrap()[&format!("config.{name}")];
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let config = ModelConfig::read(&folder.path().join("config.json")).unwrap();
        write_hashed_weights(folder.path(), &config);
        let weights = Weights::open(folder.path(), &config).unwrap();

        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        let named = |(full, view): (String, safetensors::tensor::TensorView<'_>)| {
            let own = full.strip_prefix(name)?.strip_prefix('.')?.to_owned();
            Some((own, numbers(&view)))
        };
        let numbers: BTreeMap<String, Vec<f32>> = parsed.tensors().into_iter().filter_map(named).collect();
        let count = numbers.keys().filter(|name| name.starts_with("ids")).count();
        let sequence = |index: usize| {
            let ids = numbers[&format!("ids{index}")].iter().map(|id| *id as u32).collect();
            let trained = numbers[&format!("trained{index}")].iter().map(|trained| *trained > 0.0).collect();
            (ids, trained)
        };
        let sequences = (0..count).map(sequence).collect();
        Self { name, parameters: Parameters::from_weights(&config, &weights), sequences, numbers }
    }

    fn batch(&self, indexes: impl IntoIterator<Item = usize>) -> Batch {
        Batch::new(indexes.into_iter().map(|index| {
            let (ids, trained) = &self.sequences[index];
            Sequence { ids: ids.into(), trained: trained.into() }
        }))
    }

    /// All sequences packed.
    fn packed(&self) -> Batch {
        self.batch(0..self.sequences.len())
    }

    fn model<E: Element>(&self, checkpoint_layers: bool) -> Model<E> {
        let longest = self.sequences.iter().map(|(ids, _)| ids.len()).max().unwrap();
        Model::new(&self.parameters.config, longest, checkpoint_layers)
    }

    /// The mean loss over the trained tokens of all batches, and its gradient.
    fn train<E: Element>(&self, model: &mut Model<E>, batches: &[Batch]) -> (f64, Vec<f32>) {
        let denominator = batches.iter().map(|batch| batch.targets.len()).sum::<usize>() as f32;
        let values = &self.parameters.values;
        let mut gradients = vec![0.0; values.len()];
        let mut loss = 0.0;
        for batch in batches {
            model.forward(values, batch);
            let tokens = model.losses_and_gradient(values, &mut gradients, batch, |_, _| 1.0 / denominator);
            model.backward(values, &mut gradients, batch);
            loss -= tokens.iter().map(|token| f64::from(token.log_probability)).sum::<f64>();
        }
        (loss / f64::from(denominator), gradients)
    }

    /// Every tensor's name and relative difference in two gradients.
    fn differences(&self, found: &[f32], expected: &[f32]) -> Vec<(&str, f64)> {
        let tensors = self.parameters.layout.tensors.iter();
        let difference = |range: std::ops::Range<usize>| relative(&found[range.clone()], &expected[range]);
        tensors.map(|tensor| (tensor.name.as_str(), difference(tensor.range.clone()))).collect()
    }

    #[track_caller]
    fn assert_close(&self, found: &[f32], expected: &[f32], tolerance: f64) {
        self.assert_below(&self.differences(found, expected), tolerance);
    }

    #[track_caller]
    fn assert_below(&self, differences: &[(&str, f64)], tolerance: f64) {
        // `abs`, because the NaN of 0 / 0 may be a negative one and would count as the smallest.
        let (name, worst) = differences.iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
        println!("{}: largest difference {worst:.1e} ({name})", self.name);
        assert!(*worst < tolerance, "{}: {name} differs by {worst}", self.name);
    }
}

fn numbers(view: &safetensors::tensor::TensorView<'_>) -> Vec<f32> {
    let words = view.data().as_chunks::<4>().0.iter();
    match view.dtype() {
        safetensors::Dtype::F32 => words.map(|word| f32::from_le_bytes(*word)).collect(),
        // Ids are below 2^24, so they stay exact.
        safetensors::Dtype::I32 => words.map(|word| i32::from_le_bytes(*word) as f32).collect(),
        _ => view.data().iter().map(|mask| f32::from(*mask)).collect(),
    }
}

/// |found - expected| / |expected|; NaN, which no tolerance allows, where a number is.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    (found.iter().zip(expected).map(square).sum::<f64>() / squared_norm(expected)).sqrt()
}

fn squared_norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum()
}

/// Element `k * n / count` of n.
fn sample(values: &[f32], count: usize) -> Vec<f32> {
    (0..count).map(|k| values[k * values.len() / count]).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn tiny_gradients_agree_with_transformers() {
    for case in [&*TIED, &*UNTIED] {
        let (loss, gradients) = case.train(&mut case.model::<f32>(false), &[case.packed()]);
        assert!((loss / f64::from(case.numbers["loss"][0]) - 1.0).abs() < 1e-6, "loss {loss}");
        let tensors = case.parameters.layout.tensors.iter();
        let expected: Vec<f32> =
            tensors.flat_map(|tensor| &case.numbers[&format!("gradient.{}", tensor.name)]).copied().collect();
        case.assert_close(&gradients, &expected, 1e-4);
    }
}

#[test]
fn gradients_of_a_135m_shape_agree_with_transformers() {
    let case = &*SMOLLM2_135M;
    let (loss, gradients) = case.train(&mut case.model::<f32>(false), &[case.packed()]);
    assert!((loss / f64::from(case.numbers["loss"][0]) - 1.0).abs() < 1e-6, "loss {loss}");
    let (mut norms, mut samples) = (Vec::new(), Vec::new());
    for tensor in &case.parameters.layout.tensors {
        let found = &gradients[tensor.range.clone()];
        let norm = case.numbers[&format!("norm.{}", tensor.name)][0];
        norms.push((tensor.name.as_str(), relative(&[squared_norm(found).sqrt() as f32], &[norm])));
        let expected = &case.numbers[&format!("sample.{}", tensor.name)];
        samples.push((tensor.name.as_str(), relative(&sample(found, expected.len()), expected)));
    }
    case.assert_below(&norms, 1e-4);
    case.assert_below(&samples, 1e-4);
    // Rows of tokens that were read: what the layers send down, on top of what the tied head does.
    let width = case.parameters.config.hidden_size;
    let rows = case.sequences[0].0.iter().flat_map(|id| &gradients[*id as usize * width..][..width]);
    let rows: Vec<f32> = rows.copied().collect();
    case.assert_below(&[("rows", relative(&rows, &case.numbers["rows"]))], 1e-4);
}

/// On the 135M shape, whose random weights leave attention nearly even, bf16 costs 5 % whoever computes:
/// there the measure is PyTorch's autocast, tensor by tensor.
#[test]
fn bf16_activations_stay_near_f32() {
    for case in [&*TIED, &*UNTIED, &*SMOLLM2_135M] {
        let (loss, gradients) = case.train(&mut case.model::<bf16>(false), &[case.packed()]);
        let (_, exact) = case.train(&mut case.model::<f32>(false), &[case.packed()]);
        assert!((loss - f64::from(case.numbers["loss"][0])).abs() < 1e-2, "{}: loss {loss}", case.name);
        let mut differences = case.differences(&gradients, &exact);
        let mut tolerance = 3e-2;
        if case.name == "135m" {
            for (name, difference) in &mut differences {
                *difference /= f64::from(case.numbers[&format!("autocast.{name}")][0]);
            }
            tolerance = 1.2;
        }
        case.assert_below(&differences, tolerance);
    }
}

#[test]
fn checkpointed_layers_change_no_bit() {
    fn check<E: Element>(case: &Case) {
        let batches = [case.packed(), case.batch([1]), case.batch([0, 1])];
        let (kept_loss, kept) = case.train(&mut case.model::<E>(false), &batches);
        let (loss, again) = case.train(&mut case.model::<E>(true), &batches);
        assert_eq!(loss.to_bits(), kept_loss.to_bits(), "{}", case.name);
        assert!(bits(&again) == bits(&kept), "{}", case.name);
    }
    for case in [&*TIED, &*UNTIED, &*SMOLLM2_135M] {
        check::<f32>(case);
        check::<bf16>(case);
    }
}

/// However sequences are packed, ordered and split into micro-batches, the step is the same; and one
/// model's buffers serve batches of any size in any order.
#[test]
fn packing_does_not_matter() {
    for case in [&*TIED, &*UNTIED, &*SMOLLM2_135M] {
        let count = case.sequences.len();
        let mut model = case.model::<f32>(false);
        let (packed_loss, packed) = case.train(&mut model, &[case.packed()]);
        let alone = (0..count).map(|index| case.batch([index])).collect();
        let reversed = vec![case.batch((0..count).rev())];
        let micro_batches = vec![case.batch([count - 1, 0]), case.batch(1..count - 1)];
        for batches in [alone, reversed, micro_batches] {
            let (loss, gradients) = case.train(&mut model, &batches);
            assert!((loss / packed_loss - 1.0).abs() < 1e-6, "{}: {loss}, packed {packed_loss}", case.name);
            case.assert_close(&gradients, &packed, 1e-5);
        }
    }
}

#[test]
fn threads_change_no_bit() {
    fn check<E: Element>(case: &Case) {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.train(&mut case.model::<E>(false), &[case.packed()]))
        };
        let ((loss, one), (loss_of_two, two)) = (on(1), on(2));
        assert_eq!(loss.to_bits(), loss_of_two.to_bits(), "{}", case.name);
        assert!(bits(&one) == bits(&two), "{}", case.name);
    }
    for case in [&*TIED, &*UNTIED, &*SMOLLM2_135M] {
        check::<f32>(case);
        check::<bf16>(case);
    }
}

/// Weights are counted through the whole batch, past the chunks in which logits exist.
#[test]
fn every_token_has_its_own_weight() {
    for case in [&*TIED, &*UNTIED] {
        let (last, batch) = (case.sequences.len() - 1, case.packed());
        let first = batch.target_starts[last];
        let denominator = (batch.targets.len() - first) as f32;
        let (_, expected) = case.train(&mut case.model::<f32>(false), &[case.batch([last])]);
        let (mut model, values) = (case.model::<f32>(false), &case.parameters.values);
        let mut gradients = vec![0.0; values.len()];
        model.forward(values, &batch);
        let weight = |token: usize| if token < first { 0.0 } else { 1.0 / denominator };
        model.losses_and_gradient(values, &mut gradients, &batch, |token, _| weight(token));
        model.backward(values, &mut gradients, &batch);
        case.assert_close(&gradients, &expected, 1e-5);
    }
}

#[test]
fn a_batch_with_nothing_to_learn_has_no_gradient() {
    for case in [&*TIED, &*UNTIED] {
        let (ids, trained) = (&case.sequences[1].0, vec![false; case.sequences[1].0.len()]);
        let untrained = Batch::new([Sequence { ids: ids.into(), trained: trained.into() }]);
        let mut model = case.model::<f32>(false);
        // After a batch that had one.
        case.train(&mut model, &[case.packed()]);
        for batch in [untrained, case.batch([0]), Batch::new([])] {
            let (_, gradients) = case.train(&mut model, std::slice::from_ref(&batch));
            assert!(gradients.iter().all(|gradient| *gradient == 0.0), "{}: {batch:?}", case.name);
        }
    }
}
