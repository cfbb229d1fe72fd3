//! The text of an answer as its tokens arrive: whole characters only, and no part of a stop string.

use checkpoint::tokenizer::TextStream;

/// Turns the bytes of tokens into text that is final.
#[derive(Debug, Clone, Default)]
pub(crate) struct AnswerText {
    stream: TextStream,
    stops: Vec<String>,
    /// Text that may be the beginning of a stop string.
    withheld: String,
    is_stopped: bool,
}

impl AnswerText {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, ..Self::default() }
    }

    /// Sets the stop strings from here on.
    pub(crate) fn set_stops(&mut self, stops: Vec<String>) {
        self.stops = stops;
    }

    /// Returns the text that is final after these bytes. After a stop string, [`Self::is_stopped`] is true.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        let text = self.stream.push(bytes);
        self.release(&text)
    }

    /// Returns whether a stop string has ended the text.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Returns the withheld text, at the end of an answer without a stop string.
    pub(crate) fn finish(&mut self) -> String {
        if self.is_stopped {
            return String::new();
        }
        let rest = std::mem::take(&mut self.stream).finish();
        let mut text = self.release(&rest);
        if !self.is_stopped {
            text.push_str(&std::mem::take(&mut self.withheld));
        }
        text
    }

    /// Adds text; returns what cannot be the beginning of a stop string.
    fn release(&mut self, text: &str) -> String {
        self.withheld.push_str(text);
        let stop = self.stops.iter().filter_map(|stop| self.withheld.find(stop.as_str())).min();
        if let Some(start) = stop {
            self.is_stopped = true;
            self.withheld.truncate(start);
            return std::mem::take(&mut self.withheld);
        }
        let keep = self.stops.iter().map(|stop| possible_prefix(&self.withheld, stop)).max().unwrap_or(0);
        let rest = self.withheld.split_off(self.withheld.len() - keep);
        std::mem::replace(&mut self.withheld, rest)
    }
}

/// Returns the length of the longest suffix of `text` that is a prefix of `stop`.
fn possible_prefix(text: &str, stop: &str) -> usize {
    let most = stop.floor_char_boundary(text.len().min(stop.len() - 1));
    let mut lengths = (1..=most).rev().filter(|length| stop.is_char_boundary(*length));
    lengths.find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pieces: &[&str], stops: &[&str]) -> (Vec<String>, String, bool) {
        let mut text = AnswerText::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let released = pieces.iter().map(|piece| text.push(piece.as_bytes())).collect();
        let rest = text.finish();
        (released, rest, text.is_stopped())
    }

    #[test]
    fn a_stop_string_across_pieces_never_shows() {
        let (released, rest, is_stopped) = stream(&["Hello <|im", "_e", "nd|> more"], &["<|im_end|>"]);
        assert_eq!((released.concat().as_str(), rest.as_str(), is_stopped), ("Hello ", "", true));
    }

    #[test]
    fn text_that_only_resembles_a_stop_is_released_at_the_end() {
        let (released, rest, is_stopped) = stream(&["a <", "|b <|im"], &["<|im_end|>"]);
        assert_eq!(released, ["a ", "<|b "]);
        assert_eq!((rest.as_str(), is_stopped), ("<|im", false));
    }

    #[test]
    fn prefixes_end_at_character_boundaries() {
        assert_eq!(possible_prefix("xé", "éé"), 2);
        assert_eq!(possible_prefix("xéé", "ééé"), 4);
        assert_eq!((possible_prefix("", "ab"), possible_prefix("ab", "a")), (0, 0));
    }

    #[test]
    fn the_first_of_several_stops_wins() {
        let (released, _, is_stopped) = stream(&["one\nTwo: x"], &["Two:", "\n"]);
        assert_eq!((released.concat().as_str(), is_stopped), ("one", true));
    }
}
