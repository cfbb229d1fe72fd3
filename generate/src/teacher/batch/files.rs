//! The files of batches: calls, one per line, in files of a size that providers accept; and answers, which are read line
//! by line, because a file of them may be larger than the memory.

use crate::endpoint::cause;
use crate::store::{CallKey, Reply, hex};
use crate::teacher::attempts::Unanswered;
use crate::teacher::call::CallError;
use crate::teacher::reply::{MAX_BODY, NoAnswer, Refusal, completion, refusal};
use openai::batch::{BatchAnswer, BatchCall};
use reqwest::{Response, StatusCode};
use serde_json::Value;

/// Maximum number of calls of one batch. OpenAI accepts 50,000, but the answers of a batch are in memory once.
pub(in crate::teacher) const MAX_CALLS: usize = 10_000;
/// Maximum size of one file, in bytes. OpenAI accepts 200 MB, other providers half of it.
pub(super) const MAX_BYTES: usize = 100_000_000;

/// The file of one batch, and the calls in it with their steps.
#[derive(Debug, Default, PartialEq)]
pub(super) struct BatchFile {
    pub(super) lines: String,
    pub(super) calls: Vec<(CallKey, String)>,
}

/// Splits the calls of one path into as few files as possible, in their order.
pub(super) fn into_files(
    path: &str,
    calls: Vec<(CallKey, String, Value)>,
    max_bytes: usize,
) -> Vec<BatchFile> {
    let mut files: Vec<BatchFile> = Vec::new();
    for (key, step, body) in calls {
        let (custom_id, url) = (hex(&key), format!("/v1/{path}"));
        let call = BatchCall { custom_id: &custom_id, method: "POST", url: &url, body: &body };
        let line = serde_json::to_string(&call).expect("a call has string keys only");
        let has_room =
            |file: &BatchFile| file.calls.len() < MAX_CALLS && file.lines.len() + line.len() < max_bytes;
        if !files.last().is_some_and(has_room) {
            files.push(BatchFile::default());
        }
        if let Some(file) = files.last_mut() {
            file.lines.push_str(&line);
            file.lines.push('\n');
            file.calls.push((key, step));
        }
    }
    files
}

/// Passes the lines of a body to `each` as they arrive; the error is why the body broke off.
pub(super) async fn read_lines(mut response: Response, mut each: impl FnMut(&[u8])) -> Result<(), String> {
    let mut line = Line::default();
    while let Some(piece) = response.chunk().await.map_err(|error| cause(&error))? {
        line.push(&piece, &mut each);
    }
    line.end(&mut each);
    Ok(())
}

/// A line that arrives in pieces. A line that is longer than any answer is skipped: its call gets no answer.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Line {
    fn push(&mut self, piece: &[u8], each: &mut impl FnMut(&[u8])) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.bytes.len() + part.len() > MAX_BODY {
                (self.is_too_long, self.bytes) = (true, Vec::new());
            }
            if !self.is_too_long {
                self.bytes.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.end(each);
            }
        }
    }

    fn end(&mut self, each: &mut impl FnMut(&[u8])) {
        if !self.bytes.trim_ascii().is_empty() {
            each(self.bytes.trim_ascii());
        }
        self.bytes.clear();
        self.is_too_long = false;
    }
}

/// The result of a call, from a line of an output or error file.
#[derive(Debug)]
pub(super) enum BatchResult {
    Answer(Reply),
    /// An answer that cannot be used, but may have been billed.
    Unreadable(String),
    Refused(Unanswered),
}

impl BatchResult {
    /// The answer, or why there is none.
    pub(super) fn into_answer(self) -> Result<Reply, Unanswered> {
        match self {
            Self::Answer(reply) => Ok(reply),
            Self::Unreadable(reason) => Err(CallError::Failed(format!(
                "{reason}; the call may have been billed and is charged at its worst-case cost"
            ))
            .into()),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

/// The call of a line and its result; `None` for lines that do not belong to a call of ours.
pub(super) fn result_of(line: &[u8]) -> Option<(CallKey, BatchResult)> {
    let line: BatchAnswer = serde_json::from_slice(line).ok()?;
    let number = u128::from_str_radix(&line.custom_id, 16).ok()?;
    let response = line.response.unwrap_or_default();
    let body = response.body.to_string();
    let result = match response.status_code {
        Some(200) => match completion(body.as_bytes(), "") {
            Ok(reply) => BatchResult::Answer(reply),
            Err(NoAnswer::Unanswered(reason, _)) => BatchResult::Unreadable(reason),
            Err(NoAnswer::Error(error)) => refused(*error),
        },
        Some(status @ 300..600) => {
            let status = StatusCode::from_u16(status as u16).unwrap_or_default();
            refused(refusal(status, body.as_bytes()))
        }
        status => {
            let failed = CallError::Failed(format!("status {status:?}, error {}", line.error));
            BatchResult::Refused(failed.into())
        }
    };
    Some((number.to_be_bytes(), result))
}

fn refused(refusal: Refusal) -> BatchResult {
    let Refusal { meaning, status, words } = refusal;
    BatchResult::Refused(Unanswered { error: meaning, refusal: Some(Box::new((status, words))) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_stay_below_the_maximum_size() {
        let call = |number: u8| ([number; 16], "step".to_owned(), json!({"prompt": "x".repeat(100)}));
        let calls = || (1..=7).map(call).collect();
        let whole = into_files("completions", calls(), MAX_BYTES);
        assert_eq!((whole.len(), whole[0].lines.lines().count()), (1, 7));
        let line_length = whole[0].lines.len() / 7;
        let split = into_files("completions", calls(), 3 * line_length);
        assert_eq!(split.iter().map(|file| file.calls.len()).collect::<Vec<_>>(), [3, 3, 1]);
        assert!(split.iter().all(|file| file.lines.len() <= 3 * line_length));
        assert_eq!(split.iter().map(|file| file.lines.as_str()).collect::<String>(), whole[0].lines);
        // A call that is larger than a file gets its own file; the provider decides about it.
        assert_eq!(into_files("completions", calls(), 1).len(), 7);
    }

    #[test]
    fn lines_do_not_depend_on_the_pieces() {
        let text = b"one\r\n\ntwo\nthree";
        for size in 1..text.len() {
            let (mut line, mut lines) = (Line::default(), Vec::new());
            let mut each = |bytes: &[u8]| lines.push(bytes.to_vec());
            text.chunks(size).for_each(|piece| line.push(piece, &mut each));
            line.end(&mut each);
            assert_eq!(lines, [&b"one"[..], b"two", b"three"], "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let (mut line, mut lines) = (Line::default(), Vec::new());
        let mut each = |bytes: &[u8]| lines.push(bytes.to_vec());
        for _ in 0..20 {
            line.push(&[b'x'; 1 << 20], &mut each);
            assert!(line.bytes.len() <= MAX_BODY);
        }
        line.push(b"\nnext\n", &mut each);
        assert_eq!(lines, [b"next"]);
    }
}
