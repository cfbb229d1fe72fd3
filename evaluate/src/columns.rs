//! The columns of the scoreboard, in the table and in the report: one per mode in which a model was asked.

use crate::figures::{Figures, QuestionFigures};
use crate::results::ModelResults;

/// The figures of a model in one mode.
pub(crate) struct Column<'a> {
    /// The model's name, with the mode if it was asked in several.
    pub(crate) heading: String,
    /// The model's name.
    pub(crate) model: &'a str,
    pub(crate) figures: &'a Figures,
    pub(crate) questions: Option<&'a QuestionFigures>,
    /// Whether it is the first column of its model, which alone shows what does not depend on the mode.
    pub(crate) is_first: bool,
}

/// The columns of all models; `figures` has one entry per model.
pub(crate) fn columns<'a>(models: &'a [ModelResults], figures: &'a [Figures]) -> Vec<Column<'a>> {
    models.iter().zip(figures).flat_map(|(model, figures)| columns_of_model(&model.name, figures)).collect()
}

fn columns_of_model<'a>(model: &'a str, figures: &'a Figures) -> Vec<Column<'a>> {
    let has_several = figures.questions.len() > 1;
    let with_questions = figures.questions.iter().enumerate().map(|(index, questions)| Column {
        heading: if has_several { format!("{model} ({})", questions.mode.name()) } else { model.to_owned() },
        model,
        figures,
        questions: Some(questions),
        is_first: index == 0,
    });
    let mut columns: Vec<Column<'_>> = with_questions.collect();
    if columns.is_empty() {
        columns.push(Column { heading: model.to_owned(), model, figures, questions: None, is_first: true });
    }
    columns
}

/// The kinds of questions of all columns, in the order in which they first occur.
pub(crate) fn question_kinds<'a>(columns: &[Column<'a>]) -> Vec<&'a str> {
    let mut kinds: Vec<&str> = Vec::new();
    for kind in columns.iter().filter_map(|column| column.questions).flat_map(|questions| &questions.kinds) {
        if !kinds.contains(&kind.kind.as_str()) {
            kinds.push(&kind.kind);
        }
    }
    kinds
}
