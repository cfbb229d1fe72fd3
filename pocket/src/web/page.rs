//! A page of the web: its kind, what a good teacher would give it, and what becomes of it under FineMath's recipe.

use super::markup;
use super::texts::{chatter, exercise, explanation, foreign, note, offer, person, price, quoted};
use crate::draw::Draw;
use crate::split::Split;
use crate::stories::Story;
use serde_json::{Value, json};

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ideas explained, exercises solved.
    Lesson,
    /// Exercises and their solutions.
    Exercises,
    /// Facts with formulas.
    Notes,
    Shop,
    Chatter,
    /// Without a formula.
    Story,
    /// A lesson in another language.
    Foreign,
    /// A lesson of another site.
    Copy,
    /// Exercises with a question of an evaluation set.
    Exam,
    /// 404.
    Missing,
    Pdf,
    /// Markup that nests without end.
    Deep,
    Empty,
}

/// Pages of each kind in a hundred.
pub(super) const SHARES: [(Kind, usize); 13] = [
    (Kind::Lesson, 24),
    (Kind::Exercises, 19),
    (Kind::Notes, 10),
    (Kind::Shop, 13),
    (Kind::Chatter, 8),
    (Kind::Story, 8),
    (Kind::Foreign, 5),
    (Kind::Copy, 5),
    (Kind::Exam, 4),
    (Kind::Missing, 1),
    (Kind::Pdf, 1),
    (Kind::Deep, 1),
    (Kind::Empty, 1),
];

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Page {
    pub(super) kind: Kind,
    pub(super) url: String,
    title: String,
    paragraphs: Vec<String>,
    /// The style of its markup.
    style: usize,
}

impl Page {
    /// A random page. `exam` is the question that pages of that kind contain.
    pub(super) fn new(kind: Kind, number: usize, exam: &str, draw: &mut Draw) -> Self {
        let title = format!("{} {number} for {}", kind.title(), person(draw));
        let mut paragraphs = paragraphs(kind, exam, draw);
        if kind == Kind::Foreign {
            paragraphs.iter_mut().for_each(|paragraph| *paragraph = foreign(paragraph));
        }
        let url = format!("http://{}/{number}", kind.host(number));
        Self { kind, url, title, paragraphs, style: draw.below(markup::STYLES) }
    }

    /// This page with the text of another one.
    pub(super) fn of(self, original: &Self) -> Self {
        Self { title: original.title.clone(), paragraphs: original.paragraphs.clone(), ..self }
    }

    /// Its text, with formulas between dollars.
    pub(super) fn text(&self) -> String {
        format!("{}\n\n{}", self.title, self.paragraphs.join("\n\n"))
    }

    /// Whether it is a page with a text.
    pub(super) fn has_text(&self) -> bool {
        !matches!(self.kind, Kind::Missing | Kind::Pdf | Kind::Deep | Kind::Empty)
    }

    /// Status line, media type and content.
    pub(super) fn response(&self) -> (&'static str, &'static str, String) {
        let html = || markup::page(&self.title, &self.paragraphs, self.style);
        match self.kind {
            Kind::Missing => ("404 Not Found", "text/html", html()),
            Kind::Pdf => ("200 OK", "application/pdf", "%PDF-1.7".to_owned()),
            Kind::Deep => ("200 OK", "text/html", "<div>".repeat(10_000)),
            Kind::Empty => ("200 OK", "text/html", "<html><body></body></html>".to_owned()),
            _ => ("200 OK", "text/html", html()),
        }
    }

    /// What a row of `fates.jsonl` says about it: the points of a good teacher, the stage and the reason that drop it.
    pub(super) fn fate(&self) -> Value {
        let (stage, reason) = self.kind.fate().unzip();
        json!({
            "url": self.url, "kind": format!("{:?}", self.kind).to_lowercase(), "title": self.title,
            "points": self.kind.points(), "stage": stage, "reason": reason,
        })
    }
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::Lesson | Self::Copy | Self::Missing => "Lesson",
            Self::Exercises | Self::Exam => "Exercises",
            Self::Notes => "Notes",
            Self::Shop => "Offers",
            Self::Chatter => "Thread",
            Self::Story => "Story",
            Self::Foreign => "Nossel",
            Self::Pdf | Self::Deep | Self::Empty => "Page",
        }
    }

    /// Good sites have bad pages, too; shops have no good ones.
    fn host(self, number: usize) -> String {
        match self {
            Self::Shop => format!("shop{}.example", number % 3),
            Self::Story => "tales.example".to_owned(),
            Self::Foreign => "loohcs.example".to_owned(),
            Self::Copy => "mirror.example".to_owned(),
            _ => format!("www.school{}.example", number % 3),
        }
    }

    /// The points of FineMath's second pass.
    fn points(self) -> Option<u8> {
        match self {
            Self::Lesson | Self::Copy | Self::Foreign => Some(5),
            Self::Exercises | Self::Exam => Some(4),
            Self::Notes => Some(3),
            Self::Shop => Some(1),
            Self::Chatter | Self::Story => Some(0),
            Self::Missing | Self::Pdf | Self::Deep | Self::Empty => None,
        }
    }

    /// The stage that drops it, and the reason; `None` for pages that are kept.
    fn fate(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Lesson | Self::Exercises | Self::Notes => None,
            Self::Shop | Self::Chatter => Some(("math", "score")),
            Self::Story => Some(("mathematics", "too_few_formulas")),
            Self::Foreign => Some(("language", "language")),
            Self::Copy => Some(("near_duplicates", "near_duplicate")),
            Self::Exam => Some(("decontaminate", "contaminated")),
            Self::Missing => Some(("extract", "http_status")),
            Self::Pdf => Some(("extract", "media_type")),
            Self::Deep => Some(("extract", "nested_too_deeply")),
            Self::Empty => Some(("extract", "too_short")),
        }
    }
}

fn paragraphs(kind: Kind, exam: &str, draw: &mut Draw) -> Vec<String> {
    let exercises =
        |count: usize, draw: &mut Draw| -> Vec<String> { (0..count).flat_map(|_| exercise(draw)).collect() };
    match kind {
        Kind::Lesson | Kind::Foreign | Kind::Missing => {
            let mut paragraphs: Vec<String> = (0..3).map(|_| explanation(draw)).collect();
            paragraphs.extend(exercises(4, draw));
            paragraphs
        }
        Kind::Exercises => exercises(5, draw),
        Kind::Exam => {
            let mut paragraphs = exercises(4, draw);
            paragraphs.insert(4, exam.to_owned());
            paragraphs
        }
        Kind::Notes => (0..9).map(|_| note(draw)).collect(),
        Kind::Shop => {
            let mut paragraphs: Vec<String> = (0..7).map(|_| offer(draw)).collect();
            paragraphs.push(price(draw));
            paragraphs
        }
        Kind::Chatter => {
            let mut paragraphs: Vec<String> = (0..8).map(|_| chatter(draw)).collect();
            paragraphs.push(quoted(draw));
            paragraphs
        }
        Kind::Story => (0..4).map(|_| Story::new(draw, Split::Train).text).collect(),
        Kind::Copy | Kind::Pdf | Kind::Deep | Kind::Empty => Vec::new(),
    }
}
