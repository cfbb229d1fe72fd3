//! The process that renders templates for its parent (`elsewhere`), within bounds of memory and time.

use super::elsewhere::{ARGUMENT, MEMORY, Question, Reply, TIMED_OUT, read_frame, write_frame};
use super::output::MAX_TIME;
use super::parsed::Parsed;
use std::io::BufReader;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of the stack: templates recurse.
const STACK: usize = 16 << 20;
/// Number of parsed templates that are kept.
const PARSED: usize = 4;
/// How often the time is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// When the current question began.
static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);

/// Renders templates for the process that started this one, if that is what it was started for; then the program ends with
/// this code.
pub fn render_for_parent() -> Option<std::process::ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.len() != 1 || arguments[0] != ARGUMENT {
        return None;
    }
    limit_memory();
    let watch = std::thread::Builder::new().name("time".to_owned()).spawn(watch);
    let render = std::thread::Builder::new().name("render".to_owned()).stack_size(STACK).spawn(answer_all);
    let ended = watch.ok().and_then(|_| render.ok()).is_some_and(|render| render.join().is_ok());
    Some(if ended { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}

/// Bounds the memory of this process; whatever ends it leaves no dump behind.
fn limit_memory() {
    let most = |bytes| libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the structs are alive and initialized.
    unsafe {
        let _ = libc::setrlimit(libc::RLIMIT_AS, &most(MEMORY));
        let _ = libc::setrlimit(libc::RLIMIT_CORE, &most(0));
    }
}

/// Ends the process when a question takes too long.
fn watch() {
    loop {
        std::thread::sleep(PAUSE);
        let began = *BEGAN.lock().unwrap_or_else(PoisonError::into_inner);
        if began.is_some_and(|began| began.elapsed() > MAX_TIME) {
            // SAFETY: ends the process at once; another thread may hold any lock.
            unsafe { libc::_exit(TIMED_OUT) };
        }
    }
}

fn answer_all() {
    let (mut input, mut output) = (BufReader::new(std::io::stdin()), std::io::stdout());
    let mut parsed: Vec<(String, Parsed)> = Vec::new();
    while let Ok(Some(question)) = read_frame(&mut input, u64::MAX) {
        let set_time = |time| *BEGAN.lock().unwrap_or_else(PoisonError::into_inner) = time;
        set_time(Some(Instant::now()));
        let reply = answer(&question, &mut parsed).unwrap_or_else(Reply::Error);
        let reply = serde_json::to_vec(&reply).unwrap_or_default();
        set_time(None);
        if write_frame(&mut output, &reply).is_err() {
            return;
        }
    }
}

fn answer(question: &[u8], parsed: &mut Vec<(String, Parsed)>) -> Result<Reply, String> {
    let question: Question<'_> = serde_json::from_slice(question).map_err(|error| error.to_string())?;
    let template = match parsed.iter().position(|(source, _)| *source == question.source) {
        Some(index) => parsed.remove(index),
        None => (question.source.clone().into_owned(), Parsed::new(&question.source)?),
    };
    parsed.insert(0, template);
    parsed.truncate(PARSED);
    let template = &parsed[0].1;
    let Some(context) = question.context else { return Ok(Reply::Variables(template.variables.clone())) };
    let text = match question.moment {
        None => template.render(context),
        Some(moment) => {
            let moment = chrono::DateTime::parse_from_rfc3339(&moment).map_err(|error| error.to_string())?;
            let mut template = template.clone();
            template.set_moment(moment.into());
            template.render(context)
        }
    };
    text.map(Reply::Text)
}
