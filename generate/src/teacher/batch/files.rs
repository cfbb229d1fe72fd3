//! What lies in the files of batches: calls, one a line, in files that a provider takes; and answers, which are read
//! line by line, because a file of them may be larger than the memory.

use crate::endpoint::cause;
use crate::store::{Key, Reply};
use crate::teacher::Refusal;
use crate::teacher::http::{LONGEST_BODY, completion, refusal};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

/// Calls of one batch; OpenAI takes 50,000, but a batch's answers are held in memory once.
pub(in crate::teacher) const MOST_CALLS: usize = 10_000;
/// Bytes of one file; OpenAI takes 200 MB, others half of it.
pub(super) const MOST_BYTES: usize = 100_000_000;

/// The file of one batch, and the calls in it with their steps.
#[derive(Debug, Default, PartialEq)]
pub(super) struct BatchFile {
    pub(super) lines: String,
    pub(super) calls: Vec<(Key, String)>,
}

/// Puts calls of one path into as few files as hold them, in their order.
pub(super) fn into_files(path: &str, calls: Vec<(Key, String, Value)>, most_bytes: usize) -> Vec<BatchFile> {
    let mut files: Vec<BatchFile> = Vec::new();
    for (key, step, body) in calls {
        let url = format!("/v1/{path}");
        let line = json!({"custom_id": hex(&key), "method": "POST", "url": url, "body": body}).to_string();
        let has_room =
            |file: &BatchFile| file.calls.len() < MOST_CALLS && file.lines.len() + line.len() < most_bytes;
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

/// Hands on the lines of a body as they come; the error is why it broke off.
pub(super) async fn read_lines(mut response: Response, mut each: impl FnMut(&[u8])) -> Result<(), String> {
    let mut line = Line::default();
    while let Some(piece) = response.chunk().await.map_err(|error| cause(&error))? {
        line.take(&piece, &mut each);
    }
    line.end(&mut each);
    Ok(())
}

/// A line that comes in pieces. One that is longer than any answer is left out: its call goes without.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Line {
    fn take(&mut self, piece: &[u8], each: &mut impl FnMut(&[u8])) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.bytes.len() + part.len() > LONGEST_BODY {
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

/// What a line of an output or error file says of its call.
#[derive(Debug)]
pub(super) enum BatchResult {
    Answer(Reply),
    /// An answer that is paid for and cannot be read.
    Unreadable(String),
    Refused(Refusal),
}

impl BatchResult {
    /// What the row is told.
    pub(super) fn told(self) -> Result<Reply, Refusal> {
        match self {
            Self::Answer(reply) => Ok(reply),
            Self::Unreadable(reason) => Err(Refusal::Failed(format!(
                "{reason}; the call may have been paid for and is booked at the most it can cost"
            ))),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

/// A line's call and what it says; lines that are not ours are left out.
pub(super) fn result_of(line: &[u8]) -> Option<(Key, BatchResult)> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let number = u128::from_str_radix(line["custom_id"].as_str()?, 16).ok()?;
    let response = &line["response"];
    let body = response["body"].to_string();
    let result = match response["status_code"].as_u64() {
        Some(200) => match completion(body.as_bytes()) {
            Ok(reply) => BatchResult::Answer(reply),
            Err(reason) => BatchResult::Unreadable(reason),
        },
        Some(status @ 300..600) => {
            let status = StatusCode::from_u16(status as u16).unwrap_or_default();
            BatchResult::Refused(refusal(status, body.as_bytes()))
        }
        status => {
            BatchResult::Refused(Refusal::Failed(format!("status {status:?}, error {}", line["error"])))
        }
    };
    Some((number.to_be_bytes(), result))
}

fn hex(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_longer_than_a_provider_takes() {
        let call = |number: u8| ([number; 16], "step".to_owned(), json!({"prompt": "x".repeat(100)}));
        let calls = || (1..=7).map(call).collect();
        let whole = into_files("completions", calls(), MOST_BYTES);
        assert_eq!((whole.len(), whole[0].lines.lines().count()), (1, 7));
        let a_line = whole[0].lines.len() / 7;
        let split = into_files("completions", calls(), 3 * a_line);
        assert_eq!(split.iter().map(|file| file.calls.len()).collect::<Vec<_>>(), [3, 3, 1]);
        assert!(split.iter().all(|file| file.lines.len() <= 3 * a_line));
        assert_eq!(split.iter().map(|file| file.lines.as_str()).collect::<String>(), whole[0].lines);
        // What is longer than a file goes alone, for the provider to judge.
        assert_eq!(into_files("completions", calls(), 1).len(), 7);
    }

    #[test]
    fn lines_are_put_together_whatever_pieces_they_come_in() {
        let text = b"one\r\n\ntwo\nthree";
        for size in 1..text.len() {
            let (mut line, mut found) = (Line::default(), Vec::new());
            let mut each = |bytes: &[u8]| found.push(bytes.to_vec());
            text.chunks(size).for_each(|piece| line.take(piece, &mut each));
            line.end(&mut each);
            assert_eq!(found, [&b"one"[..], b"two", b"three"], "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let (mut line, mut found) = (Line::default(), Vec::new());
        let mut each = |bytes: &[u8]| found.push(bytes.to_vec());
        for _ in 0..20 {
            line.take(&[b'x'; 1 << 20], &mut each);
            assert!(line.bytes.len() <= LONGEST_BODY);
        }
        line.take(b"\nnext\n", &mut each);
        assert_eq!(found, [b"next"]);
    }
}
