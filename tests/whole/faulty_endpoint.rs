//! An endpoint in front of another one that breaks in every way a network and a provider can.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running endpoint; it stops with the process.
pub(crate) struct FaultyEndpoint {
    /// What `--teacher` takes, without the model.
    pub(crate) base: String,
    state: Arc<State>,
}

struct State {
    /// Where good requests go: `host:port`.
    behind: String,
    faulty: bool,
    dead: AtomicBool,
    /// How often each body came.
    seen: Mutex<HashMap<String, usize>>,
}

impl FaultyEndpoint {
    /// In front of the teacher of that name (`http://host:port/v1#model`).
    pub(crate) fn start(teacher: &str, faulty: bool) -> Self {
        let behind = teacher.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(State { behind, faulty, dead: AtomicBool::new(false), seen: Mutex::default() });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                // A client that hung up is the client's matter.
                std::thread::spawn(move || state.serve(stream).unwrap_or(()));
            }
        });
        Self { base, state }
    }

    /// From now on connections are closed at once.
    pub(crate) fn die(&self) {
        self.state.dead.store(true, Ordering::SeqCst);
    }

    /// Bodies that came.
    pub(crate) fn bodies(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }
}

/// One request over one connection; the status line and headers, and the body.
pub(crate) fn exchange(address: &str, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!(
        "{head}\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// What came over a connection: the first line, and the body.
pub(crate) fn receive(stream: &TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first.trim().rsplit_once(' ').map(|(head, _)| head.to_owned()).unwrap_or_default(), body))
}

pub(crate) fn respond(stream: &mut TcpStream, status: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

impl State {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Ok(()); // closed without a word
        }
        let (head, body) = receive(&stream)?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let hash =
            text.bytes().fold(17u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let seen = {
            let mut seen = self.seen.lock().unwrap();
            let count = seen.entry(text).or_default();
            *count += 1;
            *count
        };
        let posted = head.starts_with("POST");
        // One body in forty never gets an answer; of the others, two in three break once, some of them twice.
        if self.faulty && posted && (hash >> 40).is_multiple_of(40) {
            return respond(&mut stream, "500 Internal Server Error", b"for ever");
        }
        let fault = (hash >> 20) % 15;
        if self.faulty && posted && (seen == 1 || seen == 2 && (hash >> 30).is_multiple_of(3)) {
            match fault {
                0 => return respond(&mut stream, "429 Too Many Requests\r\nretry-after: 0.1", b"slow down"),
                1 => return respond(&mut stream, "429 Too Many Requests", b"slow down"),
                2 => return respond(&mut stream, "500 Internal Server Error", b"oops"),
                3 => return respond(&mut stream, "503 Service Unavailable\r\nretry-after: 0.1", b"later"),
                4 => return Ok(()), // reset
                5 => return respond(&mut stream, "200 OK", br#"{"choices": [{"message": {"content": "Cut"#),
                6 => return respond(&mut stream, "200 OK", b"{\"choices\": [{\"text\": \"\xff\xfe\"}]}"),
                7 => return respond(&mut stream, "200 OK", br#"{"choices": []}"#),
                8 => {
                    // More is promised than comes.
                    let head = "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"choices\":";
                    return stream.write_all(head.as_bytes());
                }
                9 => std::thread::sleep(Duration::from_secs(30)), // until long after the client's patience
                _ => {}
            }
        }
        stream.write_all(&exchange(&self.behind, &format!("{head} HTTP/1.1"), &body)?)
    }
}
