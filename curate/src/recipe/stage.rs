//! The kinds of stages: their names, the files that they read, and whether they look at one page or at all of them.

use super::settings::{
    Classifier, Code, Decontaminate, Domains, ExactDuplicates, Extract, Language, Mathematics,
    NearDuplicates, RepeatedParts, Sample, Tokens, Url,
};
use crate::rules::{C4, FineWeb, GopherQuality, GopherRepetition, Pii, RefinedWebLines};
use serde::{Deserialize, Serialize};

/// A stage. Files are paths, or `$NAME` for one that the command names with `--file NAME=PATH`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    /// HTML to text.
    Extract(Extract),
    /// Addresses by lists.
    Url(Url),
    /// The language by a fastText model.
    Language(Language),
    /// Gopher's quality rules.
    GopherQuality(GopherQuality),
    /// Gopher's repetition rules.
    GopherRepetition(GopherRepetition),
    /// C4's rules.
    C4(C4),
    /// FineWeb's rules.
    Fineweb(FineWeb),
    /// RefinedWeb's line rules.
    RefinedwebLines(RefinedWebLines),
    /// Pages with mathematics.
    Mathematics(Mathematics),
    /// A classifier with a cut.
    Classifier(Classifier),
    /// Sampling by a score.
    Sample(Sample),
    /// Mail and IP addresses are replaced.
    Pii(Pii),
    /// Texts that occurred before.
    ExactDuplicates(ExactDuplicates),
    /// Lines of earlier pages.
    LineDuplicates(RepeatedParts),
    /// Paragraphs of earlier pages.
    ParagraphDuplicates(RepeatedParts),
    /// Near-duplicates by MinHash.
    NearDuplicates(NearDuplicates),
    /// Domains by their share of good pages.
    Domains(Domains),
    /// Questions of evaluation sets.
    Decontaminate(Decontaminate),
    /// Files of code: language, generated and minified files.
    Code(Code),
    /// Tokens are counted.
    Tokens(Tokens),
}

impl Stage {
    /// Its name in reports and in `--without`.
    pub fn name(&self) -> &str {
        match self {
            Self::Extract(_) => "extract",
            Self::Url(_) => "url",
            Self::Language(_) => "language",
            Self::GopherQuality(_) => "gopher_quality",
            Self::GopherRepetition(_) => "gopher_repetition",
            Self::C4(_) => "c4",
            Self::Fineweb(_) => "fineweb",
            Self::RefinedwebLines(_) => "refinedweb_lines",
            Self::Mathematics(_) => "mathematics",
            Self::Classifier(classifier) => &classifier.name,
            Self::Sample(_) => "sample",
            Self::Pii(_) => "pii",
            Self::ExactDuplicates(_) => "exact_duplicates",
            Self::LineDuplicates(_) => "line_duplicates",
            Self::ParagraphDuplicates(_) => "paragraph_duplicates",
            Self::NearDuplicates(_) => "near_duplicates",
            Self::Domains(_) => "domains",
            Self::Decontaminate(_) => "decontaminate",
            Self::Code(_) => "code",
            Self::Tokens(_) => "tokens",
        }
    }

    /// Whether it looks at all pages together.
    pub(crate) fn is_global(&self) -> bool {
        matches!(
            self,
            Self::ExactDuplicates(_)
                | Self::LineDuplicates(_)
                | Self::ParagraphDuplicates(_)
                | Self::NearDuplicates(_)
                | Self::Domains(_)
                | Self::Decontaminate(_)
        )
    }

    pub(super) fn needs_text(&self) -> bool {
        !matches!(self, Self::Extract(_) | Self::Url(_))
    }

    /// The files that it reads.
    pub(crate) fn files(&mut self) -> Vec<&mut String> {
        match self {
            Self::Url(url) => {
                let Url { domains, urls, words, soft_words, subwords } = url;
                [domains, urls, words, soft_words, subwords].into_iter().flatten().collect()
            }
            Self::Language(language) => vec![&mut language.model],
            Self::Classifier(classifier) => {
                std::iter::once(&mut classifier.model).chain(&mut classifier.encoder).collect()
            }
            Self::Tokens(tokens) => vec![&mut tokens.tokenizer],
            Self::Decontaminate(decontaminate) => {
                decontaminate.sets.iter_mut().map(|set| &mut set.path).collect()
            }
            _ => Vec::new(),
        }
    }
}
