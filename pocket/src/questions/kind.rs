//! The kinds of questions.

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Where somebody is.
    Place,
    /// Who has a thing.
    Owner,
    /// The color of somebody's thing.
    Color,
    /// Where somebody is after some moves.
    Moves,
    /// Who is the oldest or the youngest.
    Age,
    /// Who has a job, or what somebody's job is.
    Job,
    /// Where somebody goes on a day, or when somebody goes to a place.
    Day,
    /// What comes after or before a thing in a list.
    Next,
    /// A list from its end to its beginning.
    Backwards,
    /// How many things a list has.
    Length,
    /// How many things somebody has after gains and losses.
    Sum,
    /// Who has the most or the fewest of a thing.
    Most,
    /// What a small procedure prints.
    Code,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Place,
        Self::Owner,
        Self::Color,
        Self::Moves,
        Self::Age,
        Self::Job,
        Self::Day,
        Self::Next,
        Self::Backwards,
        Self::Length,
        Self::Sum,
        Self::Most,
        Self::Code,
    ];

    /// Its name in files and tables. Draws depend on it, so it must never change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Owner => "owner",
            Self::Color => "colour",
            Self::Moves => "moves",
            Self::Age => "age",
            Self::Job => "job",
            Self::Day => "day",
            Self::Next => "next",
            Self::Backwards => "backwards",
            Self::Length => "length",
            Self::Sum => "sum",
            Self::Most => "most",
            Self::Code => "code",
        }
    }
}
