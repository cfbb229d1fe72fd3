//! The plots of stories.

/// The sentences of a story, with `~` before those that may be left out, and its summaries.
pub(super) struct Plot {
    pub(super) sentences: &'static [&'static str],
    /// Summaries of one sentence, each a whole one.
    pub(super) one: &'static [&'static str],
    /// The sentences of a summary of three sentences.
    pub(super) three: &'static [&'static str],
    /// The sentences of a newspaper's summary.
    pub(super) news: &'static [&'static str],
}

/// All plots; a story refers to them by index.
pub(super) const PLOTS: [Plot; 4] = [
    Plot {
        sentences: &[
            "One day {n} lost a {c} {t}.",
            "~{n} was very sad.",
            "{n} looked for it in the {p}.",
            "~It was not there.",
            "~{n} asked everybody in the street.",
            "~Nobody had seen the {t}.",
            "Then {n} told {m} about it.",
            "~{m} wanted to help.",
            "{m} went to the {q} and looked everywhere.",
            "There {m} found the {c} {t}.",
            "~It lay behind a door.",
            "{m} gave the {t} back.",
            "~{n} thanked {m} many times.",
            "~They had tea and cake.",
        ],
        one: &["{m} found the {c} {t} of {n} in the {q}.", "{n} lost a {c} {t} and {m} found it in the {q}."],
        three: &[
            "{n} lost a {c} {t}.",
            "{n} looked for it in the {p}.",
            "{m} found it in the {q} and gave it back.",
        ],
        news: &[
            "News of the day: a {c} {t} was lost.",
            "It was the {t} of {n}.",
            "{m} found it in the {q}.",
            "All is well again.",
        ],
    },
    Plot {
        sentences: &[
            "{m} had a birthday on {d}.",
            "~{n} did not want to forget it.",
            "{n} went to the {p} to find a present.",
            "~There were many nice things.",
            "~Some cost too much.",
            "{n} bought a {c} {t} there.",
            "~{n} put it into a bag.",
            "~The bag was heavy.",
            "On {d} {n} met {m} in the {q}.",
            "{n} gave {m} the {c} {t}.",
            "~{m} laughed and clapped.",
            "~They danced a little.",
            "~It was a good day.",
        ],
        one: &["{n} gave {m} a {c} {t} on {d}.", "On {d} {m} got a {c} {t} from {n}."],
        three: &[
            "{m} had a birthday on {d}.",
            "{n} bought a {c} {t} in the {p}.",
            "{n} gave it to {m} in the {q}.",
        ],
        news: &[
            "News of the day: {m} had a birthday on {d}.",
            "{n} bought a {c} {t} in the {p}.",
            "{m} got it in the {q}.",
        ],
    },
    Plot {
        sentences: &[
            "{n} and {m} wanted to see the {q}.",
            "~They had heard much about it.",
            "They left early on {d}.",
            "~The road was long.",
            "~The sun was hot.",
            "On the way they stopped at the {p}.",
            "There a {j} gave them a {c} {t}.",
            "~They said thank you.",
            "~A bird flew over the road.",
            "In the evening they came to the {q}.",
            "~It was bigger than they thought.",
            "~They were tired but happy.",
            "~They slept well that night.",
        ],
        one: &["{n} and {m} went to the {q} on {d}.", "On {d} {n} and {m} made a trip to the {q}."],
        three: &[
            "{n} and {m} left on {d}.",
            "In the {p} a {j} gave them a {c} {t}.",
            "In the evening they came to the {q}.",
        ],
        news: &[
            "News of the day: {n} and {m} made a trip on {d}.",
            "They wanted to see the {q}.",
            "A {j} gave them a {c} {t}.",
            "They are well.",
        ],
    },
    Plot {
        sentences: &[
            "On {d} there was a race near the {p}.",
            "~Many people came to see it.",
            "{n} the {j} wanted to win.",
            "~So did {m}.",
            "~A bell rang and all began to run.",
            "~The ground was wet.",
            "{n} ran fast but fell near the {q}.",
            "~Everybody cried out.",
            "{m} came in first.",
            "The prize was a {c} {t}.",
            "~{m} held it up high.",
            "~{n} laughed about the fall.",
            "~Next year they will run again.",
        ],
        one: &["{m} won a {c} {t} in a race on {d}.", "On {d} {m} won the race near the {p}."],
        three: &[
            "On {d} there was a race near the {p}.",
            "{n} the {j} fell near the {q}.",
            "{m} came in first and won a {c} {t}.",
        ],
        news: &[
            "News of the day: there was a race on {d}.",
            "{n} the {j} fell near the {q}.",
            "{m} came in first.",
            "The prize was a {c} {t}.",
        ],
    },
];
