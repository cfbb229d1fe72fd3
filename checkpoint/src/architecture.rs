//! What the supported model families have beyond a plain Llama. One description serves loading, the arithmetic and the
//! memory plans, whether it comes from a `config.json` or from a GGUF file.
//!
//! Sources: the `modeling_*.py` of each family in <https://github.com/huggingface/transformers/tree/main/src/transformers/models>.

/// A model family, by its arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, SmolLM 1 and 2.
    Llama,
    /// Mistral 7B and Nemo: Llama with windows.
    Mistral,
    /// Qwen2 and 2.5: biases of queries, keys and values.
    Qwen2,
    /// Qwen3: norms of queries and keys.
    Qwen3,
    /// Gemma 3, text only: norms after each branch, GELU, windows, a scaled embedding.
    Gemma3,
    /// SmolLM3: layers without rotary positions.
    SmolLm3,
}

/// The families with their `model_type` in `config.json`, their architecture in GGUF files and their class in transformers.
const NAMES: [(Family, &str, &str, &str); 6] = [
    (Family::Llama, "llama", "llama", "LlamaForCausalLM"),
    (Family::Mistral, "mistral", "mistral", "MistralForCausalLM"),
    (Family::Qwen2, "qwen2", "qwen2", "Qwen2ForCausalLM"),
    (Family::Qwen3, "qwen3", "qwen3", "Qwen3ForCausalLM"),
    (Family::Gemma3, "gemma3_text", "gemma3", "Gemma3ForCausalLM"),
    (Family::SmolLm3, "smollm3", "smollm3", "SmolLM3ForCausalLM"),
];

impl Family {
    /// Its `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        NAMES.iter().find(|(family, ..)| *family == self).map_or("", |(_, name, ..)| name)
    }

    /// The name of its class in transformers.
    pub(crate) fn class_name(self) -> &'static str {
        NAMES.iter().find(|(family, ..)| *family == self).map_or("", |(.., name)| name)
    }

    pub(crate) fn of_model_type(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, model_type, ..)| *model_type == name);
        found.map(|(family, ..)| *family).ok_or_else(|| {
            let known = NAMES.map(|(_, name, ..)| name).join(", ");
            format!("model_type {name:?} is not supported; expected one of {known}")
        })
    }

    pub(crate) fn of_gguf(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(.., architecture, _)| *architecture == name);
        found.map(|(family, ..)| *family).ok_or_else(|| {
            let known = NAMES.map(|(.., name, _)| name).join(", ");
            format!(
                "is a model of the architecture {name:?}, which is not supported; expected one of {known}"
            )
        })
    }
}

/// The activation of the feed-forward network's gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x * sigmoid(x).
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
}

/// How the rotary frequencies are changed for longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All are divided by one factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Llama 3.1's: low frequencies are divided by the factor, high ones kept, the ones between blended.
    Llama3 {
        /// The factor.
        factor: f32,
        /// Wavelengths above `original_positions / low` are divided.
        low: f32,
        /// Wavelengths below `original_positions / high` are kept.
        high: f32,
        /// The context of the first training.
        original_positions: f32,
    },
    /// Each is divided by a number of its own (D / 2), as GGUF files store Llama 3.1's.
    Divisors(Vec<f32>),
    /// Not within the context, which ends where this scaling begins.
    Dynamic {
        /// The factor by which positions are scaled in texts that are longer than the context.
        factor: f32,
    },
    /// YaRN's: low frequencies are divided by the factor, high ones kept, the ones between blended by their index.
    Yarn(Yarn),
}

/// The parameters of YaRN: Peng et al., <https://arxiv.org/abs/2309.00071>.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    /// The factor.
    pub factor: f32,
    /// The context of the first training.
    pub original_positions: f32,
    /// Frequencies that turn more often than this in the original context are kept.
    pub beta_fast: f32,
    /// Frequencies that turn less often than this in it are divided.
    pub beta_slow: f32,
    /// Whether the bounds between kept and divided frequencies are whole indices.
    pub has_whole_bounds: bool,
    /// What cosines and sines are multiplied with.
    pub attention_factor: f32,
    /// The RoPE base, from which the bounds follow.
    pub theta: f32,
}

impl Yarn {
    /// The factor of cosines and sines that the paper recommends (its equation 22), for `scale` times the context.
    pub fn recommended_attention_factor(factor: f32, scale: f32) -> f32 {
        if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
    }

    fn apply(&self, frequencies: &mut [f32]) {
        let head_dim = 2.0 * frequencies.len() as f64;
        // The index of the frequency that turns that often in the original context.
        let index = |turns: f32| {
            let ratio = f64::from(self.original_positions) / (f64::from(turns) * std::f64::consts::TAU);
            head_dim * ratio.ln() / (2.0 * f64::from(self.theta).ln())
        };
        let (low, high) = (index(self.beta_fast), index(self.beta_slow));
        let (low, high) = if self.has_whole_bounds { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(head_dim - 1.0));
        let width = if low == high { 0.001 } else { high - low };
        for (index, frequency) in frequencies.iter_mut().enumerate() {
            let divided = ((index as f64 - low) / width).clamp(0.0, 1.0) as f32;
            *frequency = *frequency / self.factor * divided + *frequency * (1.0 - divided);
        }
    }
}

impl RopeScaling {
    /// What cosines and sines are multiplied with.
    pub fn attention_factor(&self) -> f32 {
        match self {
            Self::Yarn(yarn) => yarn.attention_factor,
            _ => 1.0,
        }
    }

    /// Changes the frequencies (D / 2) of unscaled positions.
    pub fn apply(&self, frequencies: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Linear { factor } => frequencies.iter_mut().for_each(|frequency| *frequency /= factor),
            Self::Divisors(divisors) => {
                for (frequency, divisor) in frequencies.iter_mut().zip(divisors) {
                    *frequency /= divisor;
                }
            }
            Self::Dynamic { .. } => {}
            Self::Yarn(yarn) => yarn.apply(frequencies),
            Self::Llama3 { factor, low, high, original_positions } => {
                for frequency in frequencies {
                    let wavelength = std::f32::consts::TAU / *frequency;
                    let divided = *frequency / factor;
                    *frequency = if wavelength > original_positions / low {
                        divided
                    } else if wavelength < original_positions / high {
                        *frequency
                    } else {
                        let smooth = (original_positions / wavelength - low) / (high - low);
                        (1.0 - smooth) * divided + smooth * *frequency
                    };
                }
            }
        }
    }
}

/// The rotary positions (RoPE) of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// With the model's base and its scaling.
    Whole,
    /// With the base of layers with a window, without scaling.
    Windowed,
    /// No rotary positions.
    None,
}

/// What a model has beyond a plain Llama. The default is a plain Llama.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// The family.
    pub family: Family,
    /// Whether queries, keys and values have biases.
    pub has_biases: bool,
    /// Whether each head's queries and keys are normalized before they are rotated.
    pub has_query_key_norms: bool,
    /// Whether the outputs of attention and of the feed-forward network are normalized before they are added.
    pub has_post_norms: bool,
    /// Added to the weights of every norm.
    pub norm_offset: f32,
    /// The gate's activation.
    pub activation: Activation,
    /// What embeddings are multiplied with.
    pub embedding_scale: f32,
    /// How rotary frequencies are changed, in layers without a window.
    pub rope_scaling: RopeScaling,
    /// RoPE base of the layers with a window, if it is another one; never scaled then.
    pub window_rope_theta: Option<f32>,
    /// Number of positions, the token's own included, that layers with a window attend to.
    pub window: usize,
    /// Whether each layer has a window; empty if none has.
    pub windowed_layers: Vec<bool>,
    /// Whether each layer is without rotary positions; empty if none is.
    pub rope_free_layers: Vec<bool>,
}

impl Default for Architecture {
    fn default() -> Self {
        Self {
            family: Family::Llama,
            has_biases: false,
            has_query_key_norms: false,
            has_post_norms: false,
            norm_offset: 0.0,
            activation: Activation::Silu,
            embedding_scale: 1.0,
            rope_scaling: RopeScaling::None,
            window_rope_theta: None,
            window: usize::MAX,
            windowed_layers: Vec::new(),
            rope_free_layers: Vec::new(),
        }
    }
}

impl Architecture {
    /// What a family always has; windows, scaling and rope-free layers are left to its config.
    pub(crate) fn of(family: Family, hidden_size: usize) -> Self {
        let plain = Self { family, ..Self::default() };
        match family {
            Family::Llama | Family::Mistral | Family::SmolLm3 => plain,
            Family::Qwen2 => Self { has_biases: true, ..plain },
            Family::Qwen3 => Self { has_query_key_norms: true, ..plain },
            Family::Gemma3 => Self {
                has_query_key_norms: true,
                has_post_norms: true,
                norm_offset: 1.0,
                activation: Activation::GeluTanh,
                embedding_scale: (hidden_size as f32).sqrt(),
                ..plain
            },
        }
    }

    /// Whether its arithmetic is that of a plain Llama, which the kernels for GPUs have.
    pub fn is_plain(&self) -> bool {
        *self == Self { family: self.family, ..Self::default() }
    }

    /// Returns the rotary positions of a layer's queries and keys.
    pub fn rotation(&self, layer: usize) -> Rotation {
        match () {
            () if self.is_rope_free(layer) => Rotation::None,
            () if self.is_windowed(layer) && self.window_rope_theta.is_some() => Rotation::Windowed,
            () => Rotation::Whole,
        }
    }

    /// The number of positions that a layer attends to.
    pub fn window_of(&self, layer: usize) -> usize {
        if self.is_windowed(layer) { self.window } else { usize::MAX }
    }

    /// Whether a layer has a window.
    pub fn is_windowed(&self, layer: usize) -> bool {
        self.windowed_layers.get(layer).copied().unwrap_or(false)
    }

    /// Whether a layer is without rotary positions.
    pub fn is_rope_free(&self, layer: usize) -> bool {
        self.rope_free_layers.get(layer).copied().unwrap_or(false)
    }
}
