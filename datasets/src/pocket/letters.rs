//! Letters that say one thing in five ways, so that each is the rewriting of the others, and the checker of a
//! rewriting.

use super::names::{names, names_in};
use super::sentence::{Slots, sentences};
use super::stories::{faithful, misread};
use super::words::{COLOURS, DAYS, EVENTS, PLACES, THINGS, of_world, words};
use super::{Draw, Split};

/// A way to write: the styles of Smol-Rewrite, and two that are only rewritten from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As short as it gets.
    Concise,
    /// Warm.
    Friendly,
    /// Fit for work.
    Professional,
    /// Nothing but the words.
    Plain,
    /// With much around it.
    Long,
}

impl Style {
    /// What texts are rewritten to.
    pub const TARGETS: [Self; 3] = [Self::Concise, Self::Friendly, Self::Professional];

    fn templates(self) -> &'static [&'static str] {
        match self {
            Self::Concise => &[
                "{n}, {e} on {d} at {k} in the {p}. Bring a {c} {t}. {m}",
                "{n}, come to the {e} on {d} at {k} in the {p} with a {c} {t}. {m}",
            ],
            Self::Friendly => &[
                "Hi {n}! I am so glad to tell you that the {e} is on {d} at {k} in the {p}. It would be lovely if you bring a {c} {t}. See you soon! {m}",
                "Hello my dear {n}! We are having a {e} on {d} at {k} in the {p}. Please bring a {c} {t}. I can not wait to see you! {m}",
            ],
            Self::Professional => &[
                "Dear {n}, the {e} will take place on {d} at {k} in the {p}. Please bring a {c} {t}. Kind regards, {m}",
                "Dear {n}, I would like to inform you that the {e} will be held on {d} at {k} in the {p}. You are kindly asked to bring a {c} {t}. Kind regards, {m}",
            ],
            Self::Plain => &[
                "{n}, the {e} is on {d} at {k} in the {p}. You need a {c} {t}. From {m}",
                "{n}, there is a {e} on {d}. It is in the {p} and starts at {k}. Take a {c} {t} with you. {m}",
            ],
            Self::Long => &[],
        }
    }
}

const LONG: [&str; 9] = [
    "Dear {n},",
    "~I sat down today to write you a few lines.",
    "~I hope you and all your people are well.",
    "~As you may know by now,",
    "there will be a {e} on {d}.",
    "It begins at {k} and it is in the {p}.",
    "~I have thought about it for a long while.",
    "One more word, please do not forget to take a {c} {t} with you.",
    "Yours, {m}",
];

/// What a letter says.
#[derive(Debug, Clone)]
pub struct Letter {
    slots: Slots,
}

impl Letter {
    /// A letter whose names and facts are of a split.
    pub fn new(draw: &mut Draw, split: Split) -> Self {
        let slots = Slots::of_split(split, draw, |draw| {
            let people = names(draw, split, 2);
            let hour = draw.between(1, 12).to_string();
            Slots::new(&[
                ('n', &people[0]),
                ('m', &people[1]),
                ('e', draw.pick(&EVENTS)),
                ('d', draw.pick(&DAYS)),
                ('k', &hour),
                ('p', draw.pick(&PLACES)),
                ('c', draw.pick(&COLOURS)),
                ('t', draw.pick(&THINGS)),
            ])
        });
        Self { slots }
    }

    /// The letter in a style.
    pub fn write(&self, style: Style, draw: &mut Draw) -> String {
        match style {
            Style::Long => self.slots.tell(&LONG, draw),
            _ => self.slots.fill(draw.pick(style.templates())),
        }
    }

    /// A style to rewrite from.
    pub fn other(target: Style, draw: &mut Draw) -> Style {
        let sources: &[Style] = match target {
            // Only these are always longer.
            Style::Concise => &[Style::Friendly, Style::Professional, Style::Long, Style::Long],
            Style::Friendly => &[Style::Plain, Style::Long, Style::Professional, Style::Concise],
            _ => &[Style::Plain, Style::Long, Style::Friendly, Style::Concise],
        };
        draw.pick(sources)
    }

    /// The letter with so many of its words exchanged.
    pub fn wrong(&self, style: Style, count: usize, draw: &mut Draw) -> String {
        let text = self.write(style, draw);
        let told: Vec<&str> = self.slots.iter().map(|(_, word)| word).collect();
        misread(&text, &text, &told, count, draw)
    }
}

/// Whether a rewriting of a letter of this world is right: it says all that the source says and no more, to the same
/// person, from the same one, and in style.
pub fn check_rewrite(source: &str, text: &str, style: Style) -> bool {
    let mut told = of_world(source).peekable();
    let held: Vec<&str> = words(text).collect();
    let all = told.peek().is_some() && told.all(|word| held.contains(&word));
    let fits = match style {
        Style::Concise => text.len() < source.len() && sentences(text).count() <= 3,
        Style::Friendly => text.contains('!'),
        Style::Professional => text.contains("Dear") && text.contains("regards") && !text.contains('!'),
        Style::Plain | Style::Long => true,
    };
    all && fits && faithful(source, text) && between(source) == between(text)
}

/// Who is written to and who writes: the first name and the last one.
fn between(text: &str) -> (Option<&str>, Option<&str>) {
    (names_in(text).next(), names_in(text).last())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Letter {
        /// Written by whom it was written to.
        fn turned(&self) -> Self {
            let mut words: Vec<(char, &str)> = self.slots.iter().collect();
            let (to, from) = (words[0].1, words[1].1);
            (words[0].1, words[1].1) = (from, to);
            Self { slots: Slots::new(&words) }
        }
    }

    #[test]
    fn every_style_is_a_rewriting_of_every_other() {
        let mut draw = Draw::new(5, "letters");
        for _ in 0..500 {
            let letter = Letter::new(&mut draw, Split::Test);
            for style in Style::TARGETS {
                let source = letter.write(Letter::other(style, &mut draw), &mut draw);
                let right = letter.write(style, &mut draw);
                assert!(check_rewrite(&source, &right, style), "{source}\n{right}");
                let wrong = letter.wrong(style, 1, &mut draw);
                assert!(!check_rewrite(&source, &wrong, style), "{source}\n{wrong}");
                let turned = letter.turned().write(style, &mut draw);
                assert!(!check_rewrite(&source, &turned, style), "{source}\n{turned}");
                assert!(!check_rewrite(&source, "", style));
                assert!(!check_rewrite(&source, &source, style), "{source}");
            }
        }
    }
}
