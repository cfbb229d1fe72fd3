//! A reply that is being written: its sentences, and the form around them.

/// A reply before its form is applied.
#[derive(Clone, Default)]
pub(super) struct Draft {
    pub(super) sentences: Vec<String>,
    pub(super) has_bullets: bool,
    pub(super) title: Option<String>,
    pub(super) end: Option<String>,
    pub(super) is_quoted: bool,
    pub(super) case: Option<Case>,
}

/// The case of all letters.
#[derive(Clone, Copy)]
pub(super) enum Case {
    Upper,
    Lower,
}

impl Draft {
    /// The reply's text.
    pub(super) fn text(&self) -> String {
        let mut text = if self.has_bullets {
            self.sentences.iter().map(|one| format!("* {one}")).collect::<Vec<_>>().join("\n")
        } else {
            self.sentences.join(" ")
        };
        if let Some(title) = &self.title {
            text = format!("<<{title}>>\n{text}");
        }
        if let Some(end) = &self.end {
            text = format!("{text}{}{end}", if self.has_bullets { "\n" } else { " " });
        }
        match self.case {
            Some(Case::Upper) => text = text.to_uppercase(),
            Some(Case::Lower) => text = text.to_lowercase(),
            None => {}
        }
        if self.is_quoted { format!("\"{text}\"") } else { text }
    }
}
