//! The options of `smoleval score` that only apply to benchmark tasks.

use engine::WeightFormat;
use files::run_folder::NO_LOCK_HELP;

/// The options for benchmark tasks.
// Commands have a group of this name already.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Benchmark tasks and groups, separated by commas; `smoleval tasks` lists them
    #[arg(long, value_delimiter = ',', help_heading = "Benchmark tasks")]
    pub(crate) tasks: Vec<String>,
    /// Number of solved examples before a question [default: the task's own]
    #[arg(long, value_name = "N", requires = "tasks", help_heading = "Benchmark tasks")]
    pub(crate) num_fewshot: Option<usize>,
    /// Rows to score, by their number from 0, separated by commas
    #[arg(long, value_delimiter = ',', requires = "tasks", help_heading = "Benchmark tasks")]
    pub(crate) samples: Vec<usize>,
    /// Put the question in the model's chat template
    #[arg(long, requires = "tasks", help_heading = "Benchmark tasks")]
    pub(crate) chat_template: bool,
    /// In a chat, put all examples and the question in one user message
    #[arg(long, requires = "chat_template", help_heading = "Benchmark tasks")]
    pub(crate) one_message: bool,
    /// Text before the task's description; the system message of a chat
    #[arg(long, requires = "tasks", value_name = "TEXT", help_heading = "Benchmark tasks")]
    pub(crate) system: Option<String>,
    /// Storage format of the weights in memory
    #[arg(long, value_enum, default_value = "f32", requires = "tasks", help_heading = "Benchmark tasks")]
    pub(crate) dtype: Dtype,
    /// Maximum length of a reply, in tokens [default: the task's own]
    #[arg(long, requires = "tasks", value_name = "TOKENS", help_heading = "Benchmark tasks")]
    pub(crate) max_reply_tokens: Option<usize>,
    /// Name of the model at an endpoint, when `--model` is a URL such as http://localhost:8000/v1; the key is read from
    /// OPENAI_API_KEY
    #[arg(long, requires = "tasks", value_name = "NAME", help_heading = "Benchmark tasks")]
    pub(crate) endpoint_model: Option<String>,
    /// Endpoint of the judge of conversations, a URL such as http://localhost:8000/v1; the key is read from JUDGE_API_KEY or
    /// OPENAI_API_KEY
    #[arg(long, requires = "tasks", value_name = "URL", help_heading = "Benchmark tasks")]
    pub(crate) judge: Option<String>,
    /// Name of the judge at its endpoint
    #[arg(long, requires = "judge", value_name = "NAME", help_heading = "Benchmark tasks")]
    pub(crate) judge_model: Option<String>,
    #[arg(long, requires = "tasks", help = NO_LOCK_HELP, help_heading = "Benchmark tasks")]
    pub(crate) no_lock: bool,
    /// Run code that the model writes, in a sandbox
    #[arg(long, requires = "tasks", help_heading = "Benchmark tasks")]
    pub(crate) allow_code: bool,
    /// Run code although this system cannot cut it off from the network or from files
    #[arg(long, requires = "allow_code", help_heading = "Benchmark tasks")]
    pub(crate) unsandboxed: bool,
    #[command(flatten)]
    pub(crate) sharing: shards::Options,
}

/// How weights are stored in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Dtype {
    /// 32-bit floats
    #[default]
    F32,
    /// bfloat16; activations are rounded to bfloat16, too
    Bf16,
    /// 8-bit integers with a scale for each 32
    #[value(name = "q8_0")]
    Q8,
    /// 4-bit integers with a scale for each 32
    #[value(name = "q4_0")]
    Q4,
    /// 4-bit integers with a scale and a minimum for each 32; activations have 16 bits
    #[value(name = "q4_1")]
    Q4WithMinimum,
    /// 5-bit integers with a scale for each 32; activations have 16 bits
    #[value(name = "q5_0")]
    Q5,
}

impl Dtype {
    /// The engine's format.
    pub(crate) fn format(self) -> WeightFormat {
        match self {
            Self::F32 => WeightFormat::F32,
            Self::Bf16 => WeightFormat::Bf16,
            Self::Q8 => WeightFormat::Q8_0,
            Self::Q4 => WeightFormat::Q4_0,
            Self::Q4WithMinimum => WeightFormat::Q4_1,
            Self::Q5 => WeightFormat::Q5_0,
        }
    }
}
