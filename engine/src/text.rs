//! The text of an answer as its tokens come: whole characters, and nothing of a stop string.

use smollm::tokenizer::TextStream;

/// Turns token bytes into text that may be shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct AnswerText {
    stream: TextStream,
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl AnswerText {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, ..Self::default() }
    }

    /// Stop strings that count from here on.
    pub(crate) fn watch_for(&mut self, stops: Vec<String>) {
        self.stops = stops;
    }

    /// Text that is certain after these bytes. Once a stop string is found, [`Self::stopped`] says so.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        let text = self.stream.push(bytes);
        self.take(&text)
    }

    /// Whether a stop string has ended the text.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// What is still held when the answer ends without a stop string.
    pub(crate) fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        let rest = std::mem::take(&mut self.stream).finish();
        let mut text = self.take(&rest);
        if !self.stopped {
            text.push_str(&std::mem::take(&mut self.held));
        }
        text
    }

    fn take(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(start) = found {
            self.stopped = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|stop| possible_beginning(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }
}

/// Length of the longest end of `text` that could be the beginning of `stop`.
fn possible_beginning(text: &str, stop: &str) -> usize {
    let most = stop.floor_char_boundary(text.len().min(stop.len() - 1));
    let beginnings = (1..=most).rev().filter(|length| stop.is_char_boundary(*length));
    beginnings.into_iter().find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(pieces: &[&str], stops: &[&str]) -> (Vec<String>, String, bool) {
        let mut text = AnswerText::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let shown = pieces.iter().map(|piece| text.push(piece.as_bytes())).collect();
        let rest = text.finish();
        (shown, rest, text.stopped())
    }

    #[test]
    fn a_stop_string_across_pieces_never_shows() {
        let (shown, rest, stopped) = streamed(&["Hello <|im", "_e", "nd|> more"], &["<|im_end|>"]);
        assert_eq!((shown.concat().as_str(), rest.as_str(), stopped), ("Hello ", "", true));
    }

    #[test]
    fn what_only_looked_like_a_stop_is_shown_in_the_end() {
        let (shown, rest, stopped) = streamed(&["a <", "|b <|im"], &["<|im_end|>"]);
        assert_eq!(shown, ["a ", "<|b "]);
        assert_eq!((rest.as_str(), stopped), ("<|im", false));
    }

    #[test]
    fn a_stop_is_awaited_from_any_of_its_characters() {
        assert_eq!(possible_beginning("xé", "éé"), 2);
        assert_eq!(possible_beginning("xéé", "ééé"), 4);
        assert_eq!((possible_beginning("", "ab"), possible_beginning("ab", "a")), (0, 0));
    }

    #[test]
    fn the_first_of_several_stops_wins() {
        let (shown, _, stopped) = streamed(&["one\nTwo: x"], &["Two:", "\n"]);
        assert_eq!((shown.concat().as_str(), stopped), ("one", true));
    }
}
