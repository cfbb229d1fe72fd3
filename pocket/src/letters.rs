//! Letters that say the same in five styles, so that each is a rewriting of the others, and the checker of rewritings.

use crate::comparison::{is_complete, is_faithful};
use crate::draw::Draw;
use crate::exchange::exchange_words;
use crate::names::{names, names_in};
use crate::split::Split;
use crate::templates::Slots;
use crate::text::sentences;
use crate::vocabulary::{COLORS, DAYS, EVENTS, PLACES, THINGS};

/// How a letter is written: the styles of Smol-Rewrite, and two that occur only as sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As short as possible.
    Concise,
    /// Warm.
    Friendly,
    /// Formal.
    Professional,
    /// Without any style; only a source.
    Plain,
    /// With many words that say nothing; only a source.
    Long,
}

impl Style {
    /// The styles that letters are rewritten to.
    pub(crate) const TARGETS: [Self; 3] = [Self::Concise, Self::Friendly, Self::Professional];

    /// The style's key in the recipe of Smol-Rewrite; only targets have one there.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Concise => "concise",
            Self::Friendly => "friendly",
            Self::Professional => "professional",
            Self::Plain => "plain",
            Self::Long => "long",
        }
    }

    /// The target with a key.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        Self::TARGETS.into_iter().find(|style| style.key() == key)
    }

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

/// The sentences of a long letter; those with `~` may be left out.
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

/// The content of a letter.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    slots: Slots,
}

impl Letter {
    /// A letter whose names and facts belong to a split.
    pub(crate) fn new(draw: &mut Draw, split: Split) -> Self {
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
                ('c', draw.pick(&COLORS)),
                ('t', draw.pick(&THINGS)),
            ])
        });
        Self { slots }
    }

    /// The letter in a style.
    pub(crate) fn write(&self, style: Style, draw: &mut Draw) -> String {
        match style {
            Style::Long => self.slots.fill_all(&LONG, draw),
            _ => self.slots.fill(draw.pick(style.templates())),
        }
    }

    /// A style that can be rewritten to `target`.
    pub(crate) fn source_style(target: Style, draw: &mut Draw) -> Style {
        let sources: &[Style] = match target {
            // Only these styles are always longer.
            Style::Concise => &[Style::Friendly, Style::Professional, Style::Long, Style::Long],
            Style::Friendly => &[Style::Plain, Style::Long, Style::Professional, Style::Concise],
            _ => &[Style::Plain, Style::Long, Style::Friendly, Style::Concise],
        };
        draw.pick(sources)
    }

    /// The letter in a style with `count` of its words exchanged.
    pub(crate) fn write_wrong(&self, style: Style, count: usize, draw: &mut Draw) -> String {
        let text = self.write(style, draw);
        let words: Vec<&str> = self.slots.iter().map(|(_, word)| word).collect();
        exchange_words(&text, &text, &words, count, draw)
    }
}

/// Whether a rewriting of a letter is right: it says what the source says and nothing else, has the same recipient and
/// the same sender, and has the style.
pub(crate) fn check_rewrite(source: &str, text: &str, style: Style) -> bool {
    let has_style = match style {
        Style::Concise => text.len() < source.len() && sentences(text).count() <= 3,
        Style::Friendly => text.contains('!'),
        Style::Professional => text.contains("Dear") && text.contains("regards") && !text.contains('!'),
        Style::Plain | Style::Long => true,
    };
    has_style
        && is_complete(source, text)
        && is_faithful(source, text)
        && recipient_and_sender(source) == recipient_and_sender(text)
}

/// The first name and the last one.
fn recipient_and_sender(text: &str) -> (Option<&str>, Option<&str>) {
    (names_in(text).next(), names_in(text).last())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Letter {
        /// The letter with sender and recipient exchanged.
        fn reversed(&self) -> Self {
            let mut words: Vec<(char, &str)> = self.slots.iter().collect();
            let (recipient, sender) = (words[0].1, words[1].1);
            (words[0].1, words[1].1) = (sender, recipient);
            Self { slots: Slots::new(&words) }
        }
    }

    #[test]
    fn every_style_is_a_rewriting_of_every_other() {
        let mut draw = Draw::new(5, "letters");
        for _ in 0..500 {
            let letter = Letter::new(&mut draw, Split::Test);
            for style in Style::TARGETS {
                let source = letter.write(Letter::source_style(style, &mut draw), &mut draw);
                let right = letter.write(style, &mut draw);
                assert!(check_rewrite(&source, &right, style), "{source}\n{right}");
                let wrong = letter.write_wrong(style, 1, &mut draw);
                assert!(!check_rewrite(&source, &wrong, style), "{source}\n{wrong}");
                let reversed = letter.reversed().write(style, &mut draw);
                assert!(!check_rewrite(&source, &reversed, style), "{source}\n{reversed}");
                assert!(!check_rewrite(&source, "", style));
                assert!(!check_rewrite(&source, &source, style), "{source}");
            }
        }
    }
}
