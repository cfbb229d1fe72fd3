//! LoRA (arXiv 2106.09685): which matrices an adapter has, where they are in its flat buffer, and how they start. The
//! arithmetic is in `cpu::linear`.
//!
//! A layer has four products: queries, keys and values together; attention's output; gate and up together; down. What of
//! one product is adapted forms a group: its matrices A lie side by side as one (R, I), so that they are one product
//! with the input, where R is the rank times the group's modules.

use crate::parameters::{Layout, Parameters};
use checkpoint::ModelConfig;
use checkpoint::adapter::{AdapterConfig, LinearModule};
use std::ops::Range;

/// What an adapter is, and how its inputs are dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSettings {
    /// Rank of every module's matrices.
    pub rank: usize,
    /// Factor of B A.
    pub scale: f32,
    /// Share of the inputs that are set to 0 in a step; the others are scaled up.
    pub dropout: f32,
    /// Seed of the dropout.
    pub seed: u64,
    /// The kinds of layers that are adapted, in order.
    pub modules: Vec<LinearModule>,
}

impl AdapterSettings {
    /// Returns the settings of an adapter's configuration.
    pub fn new(config: &AdapterConfig, seed: u64) -> Self {
        Self {
            rank: config.rank,
            scale: config.scale() as f32,
            dropout: config.dropout as f32,
            seed,
            modules: config.modules.clone(),
        }
    }

    /// Returns the number of an adapter's weights.
    pub fn parameters(&self, config: &ModelConfig) -> usize {
        let weights = |module: &LinearModule| module.shape(config).iter().sum::<usize>() * self.rank;
        config.layers * self.modules.iter().map(weights).sum::<usize>()
    }

    /// Returns an adapter that changes nothing yet: A uniform in ±1 / sqrt(inputs), as PEFT's (Kaiming with a = sqrt 5),
    /// B zero.
    pub fn start(&self, config: &ModelConfig) -> Parameters {
        let (layout, _) = AdapterLayout::new(config, self);
        let mut values = vec![0.0; layout.len()];
        let seed = random::mix(self.seed, random::fnv1a("adapter"));
        for (index, tensor) in layout.tensors.iter().enumerate().filter(|(_, tensor)| is_a(&tensor.name)) {
            let (seed, bound) = (random::mix(seed, index as u64), 1.0 / (tensor.shape[1] as f64).sqrt());
            for (element, value) in values[tensor.range.clone()].iter_mut().enumerate() {
                *value = ((2.0 * random::uniform(seed, element as u64) - 1.0) * bound) as f32;
            }
        }
        Parameters { config: config.clone(), layout, values: values.into() }
    }
}

fn is_a(name: &str) -> bool {
    name.ends_with("lora_A.weight")
}

/// The four products of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    QueryKeyValue,
    Output,
    GateUp,
    Down,
}

impl Product {
    pub(crate) const ALL: [Self; 4] = [Self::QueryKeyValue, Self::Output, Self::GateUp, Self::Down];

    fn modules(self) -> &'static [LinearModule] {
        match self {
            Self::QueryKeyValue => &[LinearModule::Query, LinearModule::Key, LinearModule::Value],
            Self::Output => &[LinearModule::Output],
            Self::GateUp => &[LinearModule::Gate, LinearModule::Up],
            Self::Down => &[LinearModule::Down],
        }
    }
}

/// The ranges of an adapter's matrices.
#[derive(Clone, Debug)]
pub(crate) struct AdapterLayout {
    /// For each layer the group of each product; none where nothing of it is adapted.
    pub(crate) layers: Vec<[Option<Group>; 4]>,
}

/// The adapted modules of one product.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// All matrices A (R, I).
    pub(crate) a: Range<usize>,
    /// Each module's B.
    pub(crate) blocks: Vec<Block>,
    /// O, of the whole product.
    pub(crate) outputs: usize,
    /// I
    pub(crate) inputs: usize,
    /// Of one module.
    pub(crate) rank: usize,
}

/// One module's B (outputs, rank).
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) range: Range<usize>,
    /// Its first output in the product.
    pub(crate) first: usize,
}

impl Group {
    /// Returns R.
    pub(crate) fn ranks(&self) -> usize {
        self.rank * self.blocks.len()
    }
}

impl AdapterLayout {
    /// Returns the tensors of an adapter, with PEFT's names, and the ranges.
    pub(crate) fn new(config: &ModelConfig, settings: &AdapterSettings) -> (Layout, Self) {
        let (mut tensors, mut end) = (Vec::new(), 0);
        let mut place = |name: String, shape: [usize; 2]| {
            let start = end;
            end += shape[0] * shape[1];
            tensors.push((name, shape.to_vec()));
            start..end
        };
        let layers = (0..config.layers)
            .map(|layer| Product::ALL.map(|product| group(config, settings, layer, product, &mut place)));
        let layers = layers.collect();
        (Layout::of_tensors(tensors), Self { layers })
    }
}

fn group(
    config: &ModelConfig,
    settings: &AdapterSettings,
    layer: usize,
    product: Product,
    place: &mut impl FnMut(String, [usize; 2]) -> Range<usize>,
) -> Option<Group> {
    let (rank, mut adapted, mut outputs, mut inputs) = (settings.rank, Vec::new(), 0, 0);
    for module in product.modules() {
        let [own, of_all] = module.shape(config);
        if settings.modules.contains(module) {
            adapted.push((*module, outputs, own));
        }
        (outputs, inputs) = (outputs + own, of_all);
    }
    let a = adapted.iter().map(|(module, ..)| place(module.tensor(layer, "A"), [rank, inputs]));
    let a = a.reduce(|all, next| all.start..next.end)?;
    let blocks = adapted.iter().map(|(module, first, own)| Block {
        range: place(module.tensor(layer, "B"), [*own, rank]),
        first: *first,
    });
    Some(Group { blocks: blocks.collect(), a, outputs, inputs, rank })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(modules: &[LinearModule]) -> AdapterSettings {
        AdapterSettings { rank: 8, scale: 2.0, dropout: 0.0, seed: 1, modules: modules.to_vec() }
    }

    /// PEFT counts 4,884,480 trained weights for all linear layers of SmolLM2-135M at rank 16.
    #[test]
    fn every_matrix_is_placed_once_and_counted() {
        let config = ModelConfig::smollm2_135m();
        let all = AdapterSettings { rank: 16, ..settings(&LinearModule::ALL) };
        assert_eq!(all.parameters(&config), 4_884_480);
        for modules in [&LinearModule::ALL[..], &[LinearModule::Query, LinearModule::Value]] {
            let settings = settings(modules);
            let (layout, adapter) = AdapterLayout::new(&config, &settings);
            assert_eq!(layout.len(), settings.parameters(&config));
            let groups = adapter.layers.iter().flatten().flatten();
            let ranges = groups.flat_map(|group| {
                assert_eq!(group.a.len(), group.ranks() * group.inputs);
                std::iter::once(&group.a).chain(group.blocks.iter().map(|block| &block.range))
            });
            let mut end = 0;
            for range in ranges {
                assert_eq!(range.start, end);
                end = range.end;
            }
            assert_eq!(end, layout.len());
        }
    }

    #[test]
    fn a_starts_uniform_and_b_at_zero() {
        let config = ModelConfig { layers: 1, ..ModelConfig::smollm2_135m() };
        let parameters = settings(&LinearModule::ALL).start(&config);
        for (name, shape, values) in parameters.named() {
            if !is_a(&name) {
                assert!(values.iter().all(|value| *value == 0.0));
                continue;
            }
            let bound = 1.0 / (shape[1] as f32).sqrt();
            assert!(values.iter().all(|value| value.abs() <= bound));
            let square = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
            assert!((square / (bound * bound / 3.0) - 1.0).abs() < 0.05, "{name}: {square}");
        }
        let other = AdapterSettings { seed: 2, ..settings(&LinearModule::ALL) };
        assert_ne!(other.start(&config).values, parameters.values);
    }
}
