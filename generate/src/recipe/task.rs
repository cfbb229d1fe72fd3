//! What can be made, and for which teachers.

/// The subsets of SmolTalk this program makes, and pairs for preference training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Task {
    /// Conversations the teacher writes whole
    MagpieUltra,
    /// Instructions with verifiable constraints
    SmolConstraint,
    /// Source texts rewritten
    SmolRewrite,
    /// Source texts summed up
    SmolSummarization,
    /// Short, simple chats that begin with a greeting
    EverydayConversations,
    /// Conversations under a system prompt that the replies must keep to
    SystemChats,
    /// Requests answered by calls of tools, or without one where no tool fits
    FunctionCalling,
    /// Pairs of replies to a prompt, rated on named aspects, for `posttrain dpo`
    Preferences,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::MagpieUltra,
        Self::SmolConstraint,
        Self::SmolRewrite,
        Self::SmolSummarization,
        Self::EverydayConversations,
        Self::SystemChats,
        Self::FunctionCalling,
        Self::Preferences,
    ];

    /// Those made when none is named, in the order they are made.
    pub const DEFAULT: [Self; 4] =
        [Self::MagpieUltra, Self::SmolConstraint, Self::SmolRewrite, Self::SmolSummarization];

    /// Its name, which is its folder under `prompts/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MagpieUltra => "magpie-ultra",
            Self::SmolConstraint => "smol-constraint",
            Self::SmolRewrite => "smol-rewrite",
            Self::SmolSummarization => "smol-summarization",
            Self::EverydayConversations => "everyday-conversations",
            Self::SystemChats => "system-chats",
            Self::FunctionCalling => "function-calling",
            Self::Preferences => "preferences",
        }
    }

    /// Whether it works on source texts and cannot do without.
    pub fn needs_source(self) -> bool {
        matches!(self, Self::SmolRewrite | Self::SmolSummarization)
    }

    /// Whether it works on source texts where it is given some.
    pub fn takes_source(self) -> bool {
        self.needs_source() || self == Self::Preferences
    }

    /// What it takes from a row of its source.
    pub(crate) fn text_of(self, row: &datasets::Row) -> Option<&str> {
        let text = if self == Self::Preferences { row.first_user_text() } else { row.source_text() };
        text.filter(|text| !text.trim().is_empty())
    }

    /// Whether its rows are conversations; of preferences they are pairs.
    pub(crate) fn has_messages(self) -> bool {
        self != Self::Preferences
    }
}

/// Which set of templates and numbers a teacher gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// For real teachers
    Full,
    /// For teachers with a short context
    Pocket,
}

impl Profile {
    /// Its name, which is its folder within a task's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Pocket => "pocket",
        }
    }
}
