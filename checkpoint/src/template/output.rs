//! What a template prints, within bounds of size and time.

use std::io;
use std::time::{Duration, Instant};

/// Maximum bytes of a rendered conversation.
const MAX_OUTPUT: usize = 64 << 20;
/// Maximum time to render one conversation; checked whenever the template prints, and by the process that renders it.
pub(super) const MAX_TIME: Duration = Duration::from_secs(15);

/// A rendered text, which ends the template when it grows or takes too long.
pub(super) struct BoundedText {
    pub(super) text: Vec<u8>,
    deadline: Instant,
    /// The bound that ended it.
    pub(super) exceeded: Option<String>,
}

impl BoundedText {
    /// An empty text, whose time begins now.
    pub(super) fn new() -> Self {
        Self { text: Vec::new(), deadline: Instant::now() + MAX_TIME, exceeded: None }
    }
}

impl io::Write for BoundedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > MAX_OUTPUT {
            self.exceeded = Some(format!("the template prints more than {MAX_OUTPUT} bytes"));
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if Instant::now() > self.deadline {
            let seconds = MAX_TIME.as_secs();
            self.exceeded = Some(format!("the template takes more than {seconds} s"));
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
