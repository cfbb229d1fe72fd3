//! Talks that no question's answer decides: a part to play, a scene to write, advice, ideas. Each with a follow-up and
//! with a checker that is content with any fitting reply.

use super::scenes::{Subject, scene};
use super::sentence::{read, sentences};
use super::words::{ANIMALS, COLOURS, FRUITS, JOBS, PLACES, THINGS, of_world, words};
use super::{Draw, Split, names};

/// Which talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The assistant is somebody.
    Role,
    /// A few sentences about somebody and something.
    Scene,
    /// What helps.
    Advice,
    /// Three of a sort.
    Ideas,
}

/// Turns of the user and of the assistant.
pub type Turns = Vec<(String, String)>;

const TROUBLES: [(&str, &str); 14] = [
    ("cold", "Put on a warm coat and drink some tea."),
    ("hungry", "Eat some bread and soup."),
    ("thirsty", "Drink a cup of water."),
    ("tired", "Go to bed early and sleep well."),
    ("sad", "Talk to a friend about it."),
    ("wet", "Dry your clothes by the fire."),
    ("late", "Take the short way and run."),
    ("lost", "Ask somebody for the way."),
    ("bored", "Read a book or play a game."),
    ("ill", "Stay in bed and call the doctor."),
    ("hot", "Sit in the shade and drink water."),
    ("angry", "Take a walk and breathe slowly."),
    ("lonely", "Visit your neighbours in the evening."),
    ("afraid", "Light a candle and sing a song."),
];
const SORTS: [(&str, &[&str]); 4] =
    [("fruits", &FRUITS), ("animals", &ANIMALS), ("colours", &COLOURS), ("jobs", &JOBS)];
const FOR: [&str; 4] = ["for a song", "for a game", "for a picture", "for a story"];

/// A talk of two turns.
pub fn talk(topic: Topic, draw: &mut Draw, split: Split) -> Turns {
    match topic {
        Topic::Role => role(draw, split),
        Topic::Scene => {
            let mut subject = Subject::new(draw, split);
            let Subject { name, thing, place, colour } = subject.clone();
            let first = match draw.below(3) {
                0 => format!("Write a short story about {name} and a {colour} {thing} in the {place}."),
                1 => format!("Tell me a story of a {colour} {thing} in the {place} and {name}."),
                _ => format!("Write a few lines about {name} and a {colour} {thing} in the {place}."),
            };
            let reply = full_scene(&subject, draw);
            subject.thing = draw.pick(&THINGS);
            let second = format!("Now write it with a {} {}.", subject.colour, subject.thing);
            vec![(first, reply), (second, full_scene(&subject, draw))]
        }
        Topic::Advice => {
            let troubles = draw.several(&TROUBLES, 2);
            let first = match draw.below(3) {
                0 => format!("I am {}. What should I do?", troubles[0].0),
                1 => format!("What helps when I am {}?", troubles[0].0),
                _ => format!("Today I am {}. What can I do?", troubles[0].0),
            };
            let second = format!("And what if I am {}?", troubles[1].0);
            vec![(first, troubles[0].1.to_owned()), (second, troubles[1].1.to_owned())]
        }
        Topic::Ideas => {
            let (sort, list) = draw.pick(&SORTS);
            let chosen = draw.several(list, 6);
            let first = format!("Name three {sort} {}.", draw.pick(&FOR));
            let three = |list: &[&str]| format!("You could take {}, {} and {}.", list[0], list[1], list[2]);
            vec![(first, three(&chosen[..3])), (format!("Name three other {sort}."), three(&chosen[3..]))]
        }
    }
}

/// The replies to the same turns once more: a scene's in other words, all others in the same.
pub fn retell(turns: &[(String, String)], draw: &mut Draw) -> Vec<String> {
    let scene =
        |(_, reply): &(String, String)| Subject::told(reply).map(|subject| full_scene(&subject, draw));
    turns
        .iter()
        .map(scene)
        .zip(turns)
        .map(|(again, (_, reply))| again.unwrap_or_else(|| reply.clone()))
        .collect()
}

/// Three sentences that hold all of a subject.
fn full_scene(subject: &Subject, draw: &mut Draw) -> String {
    loop {
        let text = scene(subject, 4, draw).join(" ");
        if [subject.name.as_str(), subject.thing, subject.place, subject.colour]
            .iter()
            .all(|word| text.contains(word))
        {
            return text;
        }
    }
}

fn role(draw: &mut Draw, split: Split) -> Turns {
    let (name, job, place) = (names::name(draw, split), draw.pick(&JOBS), draw.pick(&PLACES));
    let mut asks = [
        ("Who are you?", format!("I am {name}, the {job}.")),
        ("Where are you?", format!("I am in the {place}.")),
        ("What is your work?", format!("I am a {job}.")),
    ];
    draw.shuffle(&mut asks);
    let greeting = draw.pick(&["Hello!", "Good day!", "Hi!"]);
    vec![
        (
            format!("You are {name} the {job} and you are in the {place}. {greeting} {}", asks[0].0),
            asks[0].1.clone(),
        ),
        (asks[1].0.to_owned(), asks[1].1.clone()),
    ]
}

/// Whether a reply fits the last of a user's turns; nothing where the turns are no such talk. `before` is what the
/// assistant said before.
pub fn check(turns: &[&str], before: &[&str], reply: &str) -> Option<bool> {
    let (first, last) = (*turns.first()?, *turns.last()?);
    if let Some(part) =
        sentences(first).next().and_then(|one| read("You are {n} the {j} and you are in the {p}.", one))
    {
        let held = |slot: usize| words(reply).any(|word| word == part[slot].1);
        return Some(match sentences(last).last()? {
            "Who are you?" => held(0) && no_other(reply, &part),
            "Where are you?" => held(2) && no_other(reply, &part),
            "What is your work?" => held(1) && no_other(reply, &part),
            _ => return None,
        });
    }
    if let Some(trouble) = words(last).find_map(|word| TROUBLES.iter().find(|(trouble, _)| *trouble == word))
    {
        let asks = last.ends_with('?') && last.contains("I am ");
        return asks.then(|| reply == trouble.1);
    }
    if last.starts_with("Name three ") {
        let (_, list) = words(last).find_map(|word| SORTS.iter().find(|(sort, _)| *sort == word))?;
        let mut said: Vec<&str> = words(reply).filter(|word| list.contains(word)).collect();
        let count = said.len();
        said.sort_unstable();
        said.dedup();
        let new = said.iter().all(|word| before.iter().all(|reply| words(reply).all(|old| old != *word)));
        return Some(count == 3 && said.len() == 3 && (new || turns.len() == 1));
    }
    let writes = ["Write a short story ", "Tell me a story ", "Write a few lines ", "Now write it "];
    if writes.iter().any(|opening| last.starts_with(opening)) {
        let mut told = of_world(last).peekable();
        let said: Vec<&str> = words(reply).collect();
        let all = told.peek().is_some() && told.all(|word| said.contains(&word));
        return Some(all && (2..=8).contains(&sentences(reply).count()));
    }
    None
}

/// Whether a reply names nobody and nothing but the part's own words.
fn no_other(reply: &str, part: &[(char, &str)]) -> bool {
    of_world(reply).all(|word| part.iter().any(|(_, own)| *own == word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn fitting_replies_pass_and_those_of_other_talks_do_not() {
        let mut draw = Draw::new(2, "talks");
        for topic in [Topic::Role, Topic::Scene, Topic::Advice, Topic::Ideas] {
            for _ in 0..200 {
                let (mine, other) =
                    (talk(topic, &mut draw, Split::Train), talk(topic, &mut draw, Split::Train));
                let turns: Vec<&str> = mine.iter().map(|(user, _)| user.as_str()).collect();
                assert!(check(&turns[..1], &[], &mine[0].1).unwrap(), "{mine:?}");
                assert!(check(&turns, &[&mine[0].1], &mine[1].1).unwrap(), "{mine:?}");
                assert!(!check(&turns, &[&mine[0].1], "").unwrap());
                if topic == Topic::Ideas {
                    assert!(!check(&turns, &[&mine[0].1], &mine[0].1).unwrap(), "said before");
                } else if mine[0].1 != other[0].1 && topic != Topic::Role {
                    assert!(!check(&turns[..1], &[], &other[0].1).unwrap(), "{mine:?}\n{other:?}");
                }
            }
        }
        assert!(check(&["What is a barn?"], &[], "So.").is_none());
    }
}
