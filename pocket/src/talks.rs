//! Conversations in which no question has a single answer: a role to play, a scene to write, advice, ideas. Each has a
//! follow-up and a checker that accepts every suitable reply.

use crate::comparison::is_complete;
use crate::draw::Draw;
use crate::names::name;
use crate::scenes::{Subject, scene};
use crate::split::Split;
use crate::templates::read;
use crate::text::{sentences, words};
use crate::vocabulary::{ANIMALS, COLORS, FRUITS, JOBS, PLACES, THINGS, world_words};

/// The topic of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// The assistant plays a person.
    Role,
    /// A few sentences about a person and a thing.
    Scene,
    /// What helps in some trouble.
    Advice,
    /// Three things of a sort.
    Ideas,
}

/// Pairs of a user's turn and the assistant's reply.
pub(crate) type Turns = Vec<(String, String)>;

/// Troubles, each with the advice for it.
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
    [("fruits", &FRUITS), ("animals", &ANIMALS), ("colours", &COLORS), ("jobs", &JOBS)];
/// What ideas are asked for.
const PURPOSES: [&str; 4] = ["for a song", "for a game", "for a picture", "for a story"];

/// A conversation of two turns.
pub(crate) fn talk(topic: Topic, draw: &mut Draw, split: Split) -> Turns {
    match topic {
        Topic::Role => role(draw, split),
        Topic::Scene => {
            let mut subject = Subject::new(draw, split);
            let Subject { name, thing, place, color } = subject.clone();
            let first = match draw.below(3) {
                0 => format!("Write a short story about {name} and a {color} {thing} in the {place}."),
                1 => format!("Tell me a story of a {color} {thing} in the {place} and {name}."),
                _ => format!("Write a few lines about {name} and a {color} {thing} in the {place}."),
            };
            let reply = full_scene(&subject, draw);
            subject.thing = draw.pick(&THINGS);
            let second = format!("Now write it with a {} {}.", subject.color, subject.thing);
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
            let ideas = draw.several(list, 6);
            let first = format!("Name three {sort} {}.", draw.pick(&PURPOSES));
            let reply = |list: &[&str]| format!("You could take {}, {} and {}.", list[0], list[1], list[2]);
            vec![(first, reply(&ideas[..3])), (format!("Name three other {sort}."), reply(&ideas[3..]))]
        }
    }
}

/// Other right replies to the same turns: scenes in other words, everything else unchanged.
pub(crate) fn retell(turns: &[(String, String)], draw: &mut Draw) -> Vec<String> {
    let scene =
        |(_, reply): &(String, String)| Subject::from_text(reply).map(|subject| full_scene(&subject, draw));
    turns
        .iter()
        .map(scene)
        .zip(turns)
        .map(|(scene, (_, reply))| scene.unwrap_or_else(|| reply.clone()))
        .collect()
}

/// A scene that contains all words of its subject.
fn full_scene(subject: &Subject, draw: &mut Draw) -> String {
    loop {
        let text = scene(subject, 4, draw).join(" ");
        if [subject.name.as_str(), subject.thing, subject.place, subject.color]
            .iter()
            .all(|word| text.contains(word))
        {
            return text;
        }
    }
}

fn role(draw: &mut Draw, split: Split) -> Turns {
    let (name, job, place) = (name(draw, split), draw.pick(&JOBS), draw.pick(&PLACES));
    let mut questions = [
        ("Who are you?", format!("I am {name}, the {job}.")),
        ("Where are you?", format!("I am in the {place}.")),
        ("What is your work?", format!("I am a {job}.")),
    ];
    draw.shuffle(&mut questions);
    let greeting = draw.pick(&["Hello!", "Good day!", "Hi!"]);
    vec![
        (
            format!("You are {name} the {job} and you are in the {place}. {greeting} {}", questions[0].0),
            questions[0].1.clone(),
        ),
        (questions[1].0.to_owned(), questions[1].1.clone()),
    ]
}

/// Whether a reply suits the last of a user's turns; none if the turns are no such conversation. `earlier` are the
/// assistant's replies before.
pub(crate) fn check(turns: &[&str], earlier: &[&str], reply: &str) -> Option<bool> {
    let (first, last) = (*turns.first()?, *turns.last()?);
    if let Some(role) =
        sentences(first).next().and_then(|one| read("You are {n} the {j} and you are in the {p}.", one))
    {
        let has_word = |slot: usize| words(reply).any(|word| word == role[slot].1);
        return Some(match sentences(last).last()? {
            "Who are you?" => has_word(0) && has_only_words_of(&role, reply),
            "Where are you?" => has_word(2) && has_only_words_of(&role, reply),
            "What is your work?" => has_word(1) && has_only_words_of(&role, reply),
            _ => return None,
        });
    }
    if let Some(trouble) = words(last).find_map(|word| TROUBLES.iter().find(|(trouble, _)| *trouble == word))
    {
        let is_question = last.ends_with('?') && last.contains("I am ");
        return is_question.then(|| reply == trouble.1);
    }
    if last.starts_with("Name three ") {
        let (_, list) = words(last).find_map(|word| SORTS.iter().find(|(sort, _)| *sort == word))?;
        let mut ideas: Vec<&str> = words(reply).filter(|word| list.contains(word)).collect();
        let count = ideas.len();
        ideas.sort_unstable();
        ideas.dedup();
        let are_new =
            ideas.iter().all(|word| earlier.iter().all(|reply| words(reply).all(|old| old != *word)));
        return Some(count == 3 && ideas.len() == 3 && (are_new || turns.len() == 1));
    }
    let openings = ["Write a short story ", "Tell me a story ", "Write a few lines ", "Now write it "];
    if openings.iter().any(|opening| last.starts_with(opening)) {
        return Some(is_complete(last, reply) && (2..=8).contains(&sentences(reply).count()));
    }
    None
}

/// Whether all words of the world in a reply are words of the role.
fn has_only_words_of(role: &[(char, &str)], reply: &str) -> bool {
    world_words(reply).all(|word| role.iter().any(|(_, own)| *own == word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn suitable_replies_pass_and_those_of_other_conversations_do_not() {
        let mut draw = Draw::new(2, "talks");
        for topic in [Topic::Role, Topic::Scene, Topic::Advice, Topic::Ideas] {
            for _ in 0..200 {
                let (first, other) =
                    (talk(topic, &mut draw, Split::Train), talk(topic, &mut draw, Split::Train));
                let turns: Vec<&str> = first.iter().map(|(user, _)| user.as_str()).collect();
                assert!(check(&turns[..1], &[], &first[0].1).unwrap(), "{first:?}");
                assert!(check(&turns, &[&first[0].1], &first[1].1).unwrap(), "{first:?}");
                assert!(!check(&turns, &[&first[0].1], "").unwrap());
                if topic == Topic::Ideas {
                    assert!(!check(&turns, &[&first[0].1], &first[0].1).unwrap(), "repeats earlier ideas");
                } else if first[0].1 != other[0].1 && topic != Topic::Role {
                    assert!(!check(&turns[..1], &[], &other[0].1).unwrap(), "{first:?}\n{other:?}");
                }
            }
        }
        assert!(check(&["What is a barn?"], &[], "So.").is_none());
    }
}
