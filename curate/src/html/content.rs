//! Which part of a page is its content. What is named as something else is dropped; the element with most text in
//! paragraphs is chosen, with those beside it that are like it; what is mostly links is dropped from it.

use super::names::{is_frame, is_frame_role, is_heading};
use super::survey::Survey;
use crate::dom::{Id, NONE};

/// Drops what is not content; returns the nodes that are, in document order.
pub(super) fn main(survey: &mut Survey<'_>) -> Vec<Id> {
    drop_frames(survey);
    let scores = score(survey);
    let tops = choose(survey, &scores);
    drop_links(survey, &tops);
    tops
}

/// Drops what its name, role or class says is around the content, unless most of the page's text is in it.
fn drop_frames(survey: &mut Survey<'_>) {
    let total = f64::from(survey.facts[survey.body as usize].letters.max(1));
    let paragraphs = f64::from(survey.facts[survey.body as usize].paragraph_letters.max(1));
    for at in 0..survey.order.len() {
        let id = survey.order[at];
        let name = survey.dom.name(id);
        if matches!(name, "" | "html" | "body" | "article" | "main" | "a" | "p" | "blockquote") {
            continue;
        }
        let facts = &survey.facts[id as usize];
        let is_named = is_frame(name)
            || facts.hints.frame
            || survey.dom.attribute(id, "role").is_some_and(is_frame_role)
            || (name == "header" && facts.paragraph_letters < 200);
        let share = (f64::from(facts.letters) / total).max(f64::from(facts.paragraph_letters) / paragraphs);
        if is_named && share < 0.4 {
            survey.facts[id as usize].is_dropped = true;
        }
    }
    survey.drop_marked();
}

/// The score of each node: text in blocks counts for the element around them, less for those further up.
fn score(survey: &Survey<'_>) -> Vec<f64> {
    let mut scores = vec![0.0; survey.dom.nodes.len()];
    for id in &survey.order {
        let facts = &survey.facts[*id as usize];
        if !facts.is_block || facts.own_letters < 20 || survey.link_share(*id) > 0.6 {
            continue;
        }
        let commas = if facts.blocks == 0 { facts.commas } else { 0 };
        let points = 1.0 + f64::from(commas) + (f64::from(facts.own_letters) / 80.0).min(4.0);
        // Text that a container holds itself belongs to it, not to what is around it.
        let own = facts.blocks > 0 || survey.dom.name(*id) == "pre";
        let mut above = if own { *id } else { survey.dom.nodes[*id as usize].parent };
        for share in [1.0, 0.5, 0.25, 0.15, 0.1] {
            if above == NONE {
                break;
            }
            scores[above as usize] += points * share;
            if above == survey.body {
                break;
            }
            above = survey.dom.nodes[above as usize].parent;
        }
    }
    for id in &survey.order {
        let facts = &survey.facts[*id as usize];
        let named = if facts.hints.content { 1.1 } else { 1.0 };
        let kind = if matches!(survey.dom.name(*id), "ul" | "ol" | "li" | "dl" | "table" | "tr" | "form") {
            0.6
        } else {
            1.0
        };
        scores[*id as usize] *= (1.0 - survey.link_share(*id)) * named * kind;
    }
    scores
}

/// The element with the highest score, or one above it that contains more of the text, and the siblings that are like it.
fn choose(survey: &Survey<'_>, scores: &[f64]) -> Vec<Id> {
    let best =
        survey.order.iter().copied().filter(|id| survey.facts[*id as usize].is_block).max_by(|one, other| {
            // The first one among equals.
            scores[*one as usize].total_cmp(&scores[*other as usize]).then(other.cmp(one))
        });
    let Some(mut best) = best.filter(|id| scores[*id as usize] > 0.0) else { return vec![survey.body] };
    // A parent that is nearly as good has content beside this.
    while best != survey.body {
        let parent = survey.dom.nodes[best as usize].parent;
        if parent == NONE || scores[parent as usize] < 0.75 * scores[best as usize] {
            break;
        }
        best = parent;
    }
    while is_part(survey.dom.name(best)) {
        best = survey.dom.nodes[best as usize].parent;
    }
    best = widened(survey, best);
    if best == survey.body {
        return vec![best];
    }
    let parent = survey.dom.nodes[best as usize].parent;
    let threshold = (0.2 * scores[best as usize]).max(10.0);
    survey
        .children(parent)
        .filter(|id| *id == best || is_like(survey, scores, *id, best, threshold))
        .collect()
}

/// Elements that contain a part of a text, whatever their score.
fn is_part(name: &str) -> bool {
    matches!(
        name,
        "p" | "pre"
            | "blockquote"
            | "ul"
            | "ol"
            | "li"
            | "dl"
            | "dt"
            | "dd"
            | "table"
            | "thead"
            | "tbody"
            | "tr"
            | "figure"
    ) || is_heading(name)
}

/// The highest element above that has clearly more text in paragraphs and little else: articles come in several parts.
fn widened(survey: &Survey<'_>, best: Id) -> Id {
    let mut wide = best;
    let mut above = best;
    while above != survey.body {
        above = survey.dom.nodes[above as usize].parent;
        if above == NONE {
            break;
        }
        let [outer, inner] = [above, wide].map(|id| survey.facts[id as usize]);
        let paragraphs = f64::from(outer.paragraph_letters.saturating_sub(inner.paragraph_letters));
        let letters = f64::from(outer.letters - inner.letters);
        if paragraphs > 0.15 * f64::from(inner.letters) && paragraphs > 0.6 * letters {
            wide = above;
        }
    }
    wide
}

fn is_like(survey: &Survey<'_>, scores: &[f64], id: Id, best: Id, threshold: f64) -> bool {
    let facts = &survey.facts[id as usize];
    let class = survey.dom.class(id);
    let bonus =
        if !class.is_empty() && class == survey.dom.class(best) { 0.2 * scores[best as usize] } else { 0.0 };
    if scores[id as usize] + bonus >= threshold {
        return true;
    }
    survey.dom.name(id) == "p" && facts.letters > 80 && survey.link_share(id) < 0.25
}

/// Drops lists of links and blocks that are mostly links.
fn drop_links(survey: &mut Survey<'_>, tops: &[Id]) {
    for top in tops {
        let inside: Vec<Id> = survey.dom.descendants(*top).collect();
        for id in inside {
            let facts = &survey.facts[id as usize];
            let name = survey.dom.name(id);
            if facts.is_dropped || !facts.is_block || facts.letters == 0 {
                continue;
            }
            let share = survey.link_share(id);
            let is_list = matches!(name, "ul" | "ol" | "table" | "dl");
            let is_links = match name {
                // Parts of a list or a table go with all of it.
                "td" | "th" | "tr" | "tbody" | "thead" | "li" | "dt" | "dd" => false,
                "p" | "blockquote" => share > 0.75,
                _ if is_heading(name) => false,
                _ if is_list => share > 0.6,
                _ => share > 0.5,
            };
            if is_links {
                survey.facts[id as usize].is_dropped = true;
            }
        }
    }
    survey.drop_marked();
}
