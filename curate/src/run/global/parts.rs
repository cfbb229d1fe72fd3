//! Lines or paragraphs that an earlier page has are removed from later ones: menus, notices, quoted texts. What a page
//! repeats of itself stays, because a refrain belongs to its text; rules about repetition look at that.

use super::decide::{Decide, Reason};
use crate::page::{Body, Page};
use crate::recipe::RepeatedParts;
use serde_json::json;
use std::collections::HashSet;
use xxhash_rust::xxh3::xxh3_64;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Line,
    /// What empty lines separate.
    Paragraph,
}

impl Unit {
    fn separator(self) -> &'static str {
        match self {
            Self::Line => "\n",
            Self::Paragraph => "\n\n",
        }
    }

    /// The value on the row, which is the reason as well.
    fn name(self) -> &'static str {
        match self {
            Self::Line => "repeated_lines",
            Self::Paragraph => "repeated_paragraphs",
        }
    }
}

/// Removes what earlier pages have, and drops a page of which too much is removed. 8 bytes a line are held in memory: among
/// a billion lines, one in ten billion is taken for another one.
pub(super) fn repeated(settings: &RepeatedParts, unit: Unit) -> Decide {
    let settings = settings.clone();
    let mut known = HashSet::new();
    Box::new(move |_, page| remove(page, &settings, unit, &mut known))
}

fn remove(page: &mut Page, settings: &RepeatedParts, unit: Unit, known: &mut HashSet<u64>) -> Option<Reason> {
    let text = page.text();
    let (mut left, mut own, mut removed) = (Vec::new(), Vec::new(), 0);
    for part in text.split(unit.separator()) {
        let trimmed = part.trim();
        if trimmed.chars().nth(settings.min_characters.saturating_sub(1)).is_none() {
            left.push(part);
            continue;
        }
        let hash = xxh3_64(trimmed.to_lowercase().as_bytes());
        if known.contains(&hash) {
            removed += crate::python::length(part);
        } else {
            own.push(hash);
            left.push(part);
        }
    }
    known.extend(own);
    let share = removed as f64 / crate::python::length(text).max(1) as f64;
    let shortened = left.join(unit.separator()).trim().to_owned();
    page.values.insert(unit.name().to_owned(), json!(share));
    if removed == 0 {
        return None;
    }
    let is_dropped = share > settings.max_removed || shortened.is_empty();
    // A dropped page is shown as it was.
    if !is_dropped {
        page.body = Body::Text(shortened);
    }
    is_dropped.then(|| (unit.name(), json!(share), json!(settings.max_removed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        crate::page::page(String::new(), Body::Text(text.to_owned()))
    }

    /// The texts that are left; `None` for pages that are dropped.
    fn left(texts: &[&str], settings: &RepeatedParts, unit: Unit) -> Vec<Option<String>> {
        let mut known = HashSet::new();
        let mut one = |text: &&str| {
            let mut page = page(text);
            let dropped = remove(&mut page, settings, unit, &mut known);
            dropped.is_none().then(|| page.text().to_owned())
        };
        texts.iter().map(&mut one).collect()
    }

    const NOTICE: &str = "All rights are reserved by the owner of this site.";

    #[test]
    fn lines_of_earlier_pages_are_removed_and_own_refrains_stay() {
        let settings = RepeatedParts { min_characters: 10, max_removed: 0.5 };
        let song = format!("la la la la la\none verse of a song\nla la la la la\n{NOTICE}");
        let other =
            format!("A page about angles and circles with a longer text.\n{}\nshort", NOTICE.to_uppercase());
        let mostly = format!("short\n{NOTICE}");
        let left = left(&[&song, &other, &mostly, "short"], &settings, Unit::Line);
        assert_eq!(left[0].as_deref(), Some(song.as_str()));
        assert_eq!(
            left[1].as_deref(),
            Some("A page about angles and circles with a longer text.\nshort"),
            "the case of letters makes no other line"
        );
        assert_eq!(left[2], None, "more than half of it is a notice");
        assert_eq!(left[3].as_deref(), Some("short"), "short lines stay");
    }

    #[test]
    fn paragraphs_are_compared_whole_and_an_empty_page_is_dropped() {
        let settings = RepeatedParts::default();
        let paragraph = format!("{NOTICE}\nSecond line of the same notice.");
        let first = format!("{paragraph}\n\nThe text of the first page, which is its own.");
        let second = format!("{NOTICE}\n\n{paragraph}");
        let left = left(&[&first, &second, &paragraph], &settings, Unit::Paragraph);
        assert_eq!(left[0].as_deref(), Some(first.as_str()));
        assert_eq!(left[1].as_deref(), Some(NOTICE), "a line alone is another paragraph");
        assert_eq!(left[2], None);
    }
}
