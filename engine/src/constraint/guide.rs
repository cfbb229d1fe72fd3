//! The compiled constraint of one request, at its current position: here, or away where a token takes long (`ahead`).

use super::ahead::{self, Advanced, QUICK};
use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

/// For how many tokens a constraint that was slow stays away.
const AWAY: usize = 8;

/// The compiled constraint of one request, at its current position.
pub struct Guide {
    place: Place,
    /// The ids that are allowed next, where they were found already.
    mask: Option<Result<SimpleVob, String>>,
    /// For how many more tokens it is advanced away from the engine's thread.
    away: usize,
    /// Whether it may be advanced away at all: only where somebody polls it.
    may_leave: bool,
}

enum Place {
    Here(Box<Matcher>),
    Away(Receiver<Advanced>, Option<llguidance::CancellationHandle>),
    /// The thread that had it has ended.
    Lost,
}

const LOST: &str = "the constraint's parser failed on it; simplify it";

impl Guide {
    /// The guide of a compiled constraint before its first token. The ids that are allowed first are found by the caller's
    /// thread.
    pub(super) fn new(matcher: &Matcher) -> Self {
        let mut matcher = matcher.deep_clone();
        let mask = Some(ahead::compute_mask(&mut matcher));
        Self { place: Place::Here(Box::new(matcher)), mask, away: 0, may_leave: false }
    }

    /// Lets it be advanced away from the thread of its engine, which has to ask for the result with `poll`.
    pub(crate) fn may_leave(&mut self) {
        self.may_leave = true;
    }

    /// Returns the ids that are allowed next.
    pub(crate) fn allowed(&mut self) -> Result<SimpleVob, String> {
        if let Some(mask) = self.mask.take() {
            return mask;
        }
        self.timed(ahead::compute_mask)?
    }

    /// Returns the bytes that the constraint leaves no choice of.
    pub(crate) fn forced(&mut self) -> Vec<u8> {
        if self.away > 0 {
            return Vec::new();
        }
        self.timed(Matcher::compute_ff_bytes).unwrap_or_default()
    }

    /// Advances past a chosen token; returns whether the constraint is complete, or `None` if `poll` will tell.
    pub(crate) fn advance(&mut self, id: u32) -> Result<Option<bool>, String> {
        self.mask = None;
        if self.away == 0 || !self.may_leave {
            return self.timed(|matcher| ahead::consume(matcher, id))?.map(Some);
        }
        self.away -= 1;
        let Place::Here(matcher) = std::mem::replace(&mut self.place, Place::Lost) else {
            return Err(LOST.to_owned());
        };
        let cancellation = matcher.cancellation_handle();
        self.place = Place::Away(ahead::advance(*matcher, id), cancellation);
        Ok(None)
    }

    /// Returns whether it is away.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.place, Place::Away(..))
    }

    /// Takes it back if it has been advanced; returns whether the constraint is complete then.
    pub(crate) fn poll(&mut self) -> Option<Result<bool, String>> {
        let Place::Away(receiver, _) = &self.place else { return None };
        match receiver.try_recv() {
            Ok(Advanced { matcher, is_complete, mask, took }) => {
                self.place = Place::Here(Box::new(matcher));
                self.mask = Some(mask);
                if took > QUICK {
                    self.away = AWAY;
                }
                Some(is_complete)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.place = Place::Lost;
                Some(Err(LOST.to_owned()))
            }
        }
    }

    /// Does something with the parser and learns whether it is slow.
    fn timed<T>(&mut self, work: impl FnOnce(&mut Matcher) -> T) -> Result<T, String> {
        let Place::Here(matcher) = &mut self.place else { return Err(LOST.to_owned()) };
        let began = Instant::now();
        let result = work(matcher);
        if began.elapsed() > QUICK {
            self.away = AWAY;
        }
        Ok(result)
    }

    #[cfg(test)]
    pub(super) fn is_accepting(&mut self) -> bool {
        match &mut self.place {
            Place::Here(matcher) => matcher.is_accepting().unwrap_or(false),
            _ => false,
        }
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        if let Place::Away(_, Some(cancellation)) = &self.place {
            cancellation.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::compiler;
    use crate::request::Constraint;
    use std::time::{Duration, Instant};

    const AMBIGUOUS: &str = "start: e\ne: e e | \"a\" | /[a-z ]/";

    /// Advances by `a`; returns how long the caller's thread took.
    fn step(guide: &mut super::Guide) -> Duration {
        let began = Instant::now();
        let mask = guide.allowed().expect("a mask");
        assert!(mask.is_allowed(b'a'.into()));
        let is_complete = guide.advance(b'a'.into()).expect("an a");
        let took = began.elapsed();
        match is_complete {
            Some(is_complete) => assert!(!is_complete),
            None => loop {
                match guide.poll() {
                    Some(is_complete) => break assert_eq!(is_complete, Ok(false)),
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            },
        }
        took
    }

    #[test]
    fn an_ambiguous_grammar_takes_no_time_of_the_engines_thread() {
        let compiler = compiler();
        let mut guide = compiler.guide(Constraint::Lark(AMBIGUOUS.to_owned())).expect("a guide");
        guide.may_leave();
        let mut took: Vec<Duration> = (0..400).map(|_| step(&mut guide)).collect();
        took.sort_unstable();
        // By the 400th token, each takes far longer; only a few are noticed on this thread.
        let slow = took.iter().filter(|took| **took > Duration::from_millis(20)).count();
        assert!(slow <= 2, "{slow} of 400 tokens took long, the longest {:?}", took.last());
        let all: Duration = took.iter().sum();
        assert!(all < Duration::from_secs(1), "{all:?}");
    }

    #[test]
    fn work_for_an_answer_that_ended_is_given_up() {
        let compiler = compiler();
        let mut guide = compiler.guide(Constraint::Lark(AMBIGUOUS.to_owned())).expect("a guide");
        guide.may_leave();
        for _ in 0..300 {
            step(&mut guide);
        }
        guide.away = 1;
        assert_eq!(guide.advance(b'a'.into()), Ok(None));
        drop(guide);
        // The thread is free for the next constraint.
        let mut next = compiler.guide(Constraint::Regex("a+".to_owned())).expect("a guide");
        next.may_leave();
        next.away = 1;
        assert_eq!(next.advance(b'a'.into()), Ok(None));
        let began = Instant::now();
        while next.poll().is_none() {
            assert!(began.elapsed() < Duration::from_secs(1), "the thread is busy with an answer that ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(next.allowed().expect("a mask").is_allowed(b'a'.into()));
    }
}
