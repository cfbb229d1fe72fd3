//! Questions of thirteen kinds that contain what is needed to answer them, their answers, and the checker that reads
//! any question of the world and judges a reply.

mod answer;
mod checker;
mod content;
mod faults;
mod kind;
mod query;
mod question;
mod reply;

pub(crate) use checker::{Verdict, check};
pub use kind::Kind;
pub use question::Question;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::draw::Draw;
    use crate::facts::split_key;
    use crate::names::{has_held_out_name, name};
    use crate::split::Split;
    use std::collections::BTreeMap;

    #[test]
    fn the_checker_knows_right_from_wrong_in_every_kind() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(7, kind.name());
            for split in [Split::Train, Split::Test] {
                for _ in 0..500 {
                    let question = Question::new(kind, &mut draw, split);
                    let user = question.user.as_str();
                    assert_eq!(check(&[user], &question.reply), Verdict::Right, "{user}\n{}", question.reply);
                    let natural = question.natural_reply(&mut draw);
                    assert_eq!(check(&[user], &natural), Verdict::Right, "{user}\n{natural}");
                    let wrong = question.wrong_reply(&mut draw);
                    assert_eq!(check(&[user], &wrong), Verdict::Wrong, "{user}\n{wrong}");
                    assert_eq!(check(&[user], ""), Verdict::Wrong, "{user}");
                    let next = question.follow_up(&mut draw);
                    let turns = [user, next.user.as_str()];
                    assert_eq!(check(&turns, &next.reply), Verdict::Right, "{turns:?}\n{}", next.reply);
                    assert_eq!(check(&turns, &next.wrong_reply(&mut draw)), Verdict::Wrong, "{turns:?}");
                    assert!(question.is_answerable() && matching_facts(&question) > 0, "{user}");
                    if let Some(other) = question.unanswerable(&mut draw) {
                        let text = other.user.as_str();
                        assert_eq!(check(&[text], &question.reply), Verdict::Unanswerable, "{text}");
                        assert!(
                            !other.is_answerable() && matching_facts(&other) != 1
                                || kind == Kind::Most
                                || kind == Kind::Age,
                            "{text}"
                        );
                    }
                }
            }
        }
        assert_eq!(check(&["Why is the sky blue?"], "So."), Verdict::Unreadable);
        assert_eq!(check(&["Mara is in the barn."], "Mara is in the barn."), Verdict::Unreadable);
    }

    /// The number of facts that state exactly what is asked for.
    fn matching_facts(question: &Question) -> usize {
        let is_match = |fact: &Vec<(String, String)>| fact.iter().all(|(stated, asked)| stated == asked);
        question.compared_with_facts().iter().filter(|fact| is_match(fact)).count()
    }

    #[test]
    fn held_out_facts_are_not_trained_on() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(13, kind.name());
            for _ in 0..300 {
                let mut question = Question::new(kind, &mut draw, Split::Train);
                for _ in 0..3 {
                    assert!(Split::Train.contains(&split_key(question.facts())), "{}", question.user);
                    question = question.follow_up_of_split(&mut draw);
                }
                let held_out = Question::new(kind, &mut draw, Split::Test);
                assert!(!Split::Train.contains(&split_key(held_out.facts())), "{}", held_out.user);
            }
        }
    }

    #[test]
    fn a_held_out_name_is_found_in_a_text() {
        let mut draw = Draw::new(2, "held out");
        for _ in 0..200 {
            let held_out = format!("Where is {}'s lamp?", name(&mut draw, Split::Test));
            assert!(has_held_out_name(&held_out), "{held_out}");
            let question = Question::new(draw.pick(&Kind::ALL), &mut draw, Split::Train);
            assert!(!has_held_out_name(&question.user), "{}", question.user);
        }
    }

    #[test]
    fn no_constant_answers_a_fifth_of_a_kind() {
        for kind in Kind::ALL {
            let mut draw = Draw::new(11, kind.name());
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..1000 {
                *counts.entry(Question::new(kind, &mut draw, Split::Test).answer).or_default() += 1;
            }
            let highest = counts.values().max().unwrap();
            assert!(*highest <= 200, "{}: {highest} of 1000", kind.name());
        }
    }

    #[test]
    fn the_last_sentence_decides() {
        let turns = ["Mara went to the barn. Then Mara went to the mill. Where is Mara now?"];
        assert_eq!(
            check(&turns, "Mara went to the barn, then the mill. Now Mara is in the mill."),
            Verdict::Right
        );
        assert_eq!(check(&turns, "Mara is in the barn or the mill."), Verdict::Wrong);
        assert_eq!(check(&turns, "The mill."), Verdict::Right);
        assert_eq!(check(&turns, "In the mill. No, in the barn."), Verdict::Wrong);
        assert_eq!(check(&turns, "Mara is not in the mill."), Verdict::Wrong);
        assert_eq!(check(&turns, "Tolin is in the mill."), Verdict::Wrong);
        let twice = ["Mara has a red hat. The red hat belongs to Mara. Who has the red hat?"];
        assert_eq!(check(&twice, "The red hat belongs to Mara."), Verdict::Right);
        assert_eq!(check(&["And é \u{201c}who?"], ""), Verdict::Unreadable);
    }
}
