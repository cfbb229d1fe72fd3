//! Functions, filters and tests that published templates use, as transformers has them. What a filter makes is bounded.

use crate::python_json::{Options, print};
use crate::python_text::{is_printed_otherwise, python_str};
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, ErrorKind, State};
use std::fmt::Write as _;

/// Maximum bytes that a filter may make of one value.
const MAX_FILTERED: usize = 64 << 20;

/// Adds them to an environment.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.set_formatter(|output, state, value| match is_printed_otherwise(value) {
        true => Ok(output.write_str(&python_str(value)?)?),
        false => minijinja::escape_formatter(output, state, value),
    });
    environment.add_filter("string", string);
    environment.add_filter("upper", |value: Value| python_str(&value).map(|text| text.to_uppercase()));
    environment.add_filter("lower", |value: Value| python_str(&value).map(|text| text.to_lowercase()));
    environment.add_filter("tojson", tojson);
    environment.add_filter("indent", indent);
    environment.add_filter("replace", replace);
    environment.add_test("iterable", is_iterable);
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    formatted(chrono::Local::now(), format)
}

pub(super) fn formatted(
    moment: chrono::DateTime<chrono::Local>,
    format: &str,
) -> Result<String, minijinja::Error> {
    let mut text = String::new();
    // `to_string` would panic on a format that chrono does not know.
    write!(text, "{}", moment.format(format)).map_err(|_| {
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now: `{format}` is no format"))
    })?;
    Ok(text)
}

/// Whether Python can iterate over a value: unlike minijinja's own test, not over `none`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes values")]
fn is_iterable(value: Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Jinja's `string`.
fn string(value: &Value) -> Result<Value, minijinja::Error> {
    match value.kind() {
        ValueKind::String => Ok(value.clone()),
        _ => python_str(value).map(Value::from),
    }
}

/// Refuses what a filter would make too large.
fn bounded(bytes: usize, filter: &str) -> Result<(), minijinja::Error> {
    if bytes <= MAX_FILTERED {
        return Ok(());
    }
    let message = format!("`{filter}` would make a text of more than {MAX_FILTERED} bytes");
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Jinja's `replace`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes values")]
fn replace(value: Value, from: Value, to: Value, count: Option<usize>) -> Result<String, minijinja::Error> {
    let (value, from, to) = (value.to_string(), from.to_string(), to.to_string());
    let most = if from.is_empty() { value.chars().count() + 1 } else { value.len() / from.len() };
    let count = count.unwrap_or(usize::MAX).min(most);
    bounded(value.len().saturating_add(count.saturating_mul(to.len())), "replace")?;
    Ok(value.replacen(from.as_str(), &to, count))
}

/// Jinja's `indent`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes values")]
fn indent(
    value: Value,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    arguments: Kwargs,
) -> Result<String, minijinja::Error> {
    let text = value.to_string();
    let spaces = match width {
        Some(width) => width,
        None => arguments.get::<Option<usize>>("width")?.unwrap_or(4),
    };
    let first = first.or(arguments.get::<Option<bool>>("first")?).unwrap_or(false);
    let blank = blank.or(arguments.get::<Option<bool>>("blank")?).unwrap_or(false);
    arguments.assert_all_used()?;
    bounded(text.len().saturating_add(text.split('\n').count().saturating_mul(spaces)), "indent")?;
    let margin = " ".repeat(spaces);
    let mut indented = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        indented.push_str(if is_indented { &margin } else { "" });
        indented.push_str(line);
    }
    Ok(indented)
}

/// `tojson` of transformers: Python's `json.dumps(value, ensure_ascii=False, ...)`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes keyword arguments by value")]
fn tojson(_: &State<'_, '_>, value: &Value, arguments: Kwargs) -> Result<Value, minijinja::Error> {
    let indent = arguments.get::<Option<usize>>("indent")?;
    let ensure_ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators =
        arguments.get::<Option<Value>>("separators")?.filter(|value| value.kind() == ValueKind::Seq);
    arguments.assert_all_used()?;
    let separators = match separators {
        Some(pair) => from_args::<(String, String)>(&pair.try_iter()?.collect::<Vec<_>>())?,
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let json = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let text = print(&json, &Options { indent, ensure_ascii, sort_keys, separators });
    Ok(Value::from_safe_string(text))
}
