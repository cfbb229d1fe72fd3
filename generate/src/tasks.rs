//! The four tasks: how a row of each is made, and the columns it has.

mod magpie_ultra;
mod smol_constraint;
mod sources;

use crate::recipe::Task;
use crate::walk::{Halt, Walk};
use datasets::write::{Column, Kind};
use serde_json::{Map, Value};

/// Walks one row to its end.
pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    match walk.recipe.task {
        Task::MagpieUltra => Box::pin(magpie_ultra::row(walk)).await,
        Task::SmolConstraint => Box::pin(smol_constraint::row(walk)).await,
        Task::SmolRewrite | Task::SmolSummarization => Box::pin(sources::row(walk)).await,
    }
}

/// The columns of a task's rows; the first three are the same for all.
pub(crate) fn columns(task: Task) -> Vec<Column> {
    let own: &[(&str, Kind)] = match task {
        Task::MagpieUltra => &[
            ("category", Kind::Text),
            ("instruction", Kind::Text),
            ("intent", Kind::Text),
            ("knowledge", Kind::Text),
            ("difficulty", Kind::Text),
            ("explanation", Kind::Text),
            ("quality", Kind::Text),
            ("primary_tag", Kind::Text),
            ("other_tags", Kind::Texts),
            ("score", Kind::Integer),
            ("guard", Kind::Text),
            ("nearest_id", Kind::Text),
            ("nearest_similarity", Kind::Float),
        ],
        Task::SmolConstraint => &[
            ("prompt", Kind::Text),
            ("response", Kind::Text),
            ("instruction_id_list", Kind::Texts),
            ("kwargs", Kind::Text),
            ("nearest_id", Kind::Text),
            ("nearest_similarity", Kind::Float),
        ],
        Task::SmolRewrite | Task::SmolSummarization => {
            &[("style", Kind::Text), ("nearest_id", Kind::Text), ("nearest_similarity", Kind::Float)]
        }
    };
    let shared = [("id", Kind::Text), ("messages", Kind::Messages), ("source", Kind::Text)];
    shared.iter().chain(own).map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
}

/// An object's fields.
fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
