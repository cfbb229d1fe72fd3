//! Apertus: `<|tools_prefix|>[{"name": {..arguments..}}]<|tools_suffix|>`.

use super::cursor::{Call, Cursor, Stop, Tools};
use super::family::Family;
use serde_json::Value;

const OPEN: &str = "<|tools_prefix|>";
const CLOSE: &str = "<|tools_suffix|>";

pub(super) static FAMILY: Family =
    Family { markers: &[OPEN], tags: &[OPEN, CLOSE], ..Family::new("apertus", &[OPEN], read) };

fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.expect(OPEN)?;
    cursor.skip_space();
    let value = cursor.json()?;
    let items = value.as_array().filter(|items| !items.is_empty()).ok_or(Stop::NoCall)?;
    let calls = items.iter().map(|item| call(item, tools)).collect::<Option<_>>();
    let calls = calls.ok_or(Stop::NoCall)?;
    cursor.close(CLOSE)?;
    Ok(calls)
}

/// An object whose only entry has the tool's name.
fn call(item: &Value, tools: &Tools) -> Option<Call> {
    let mut entries = item.as_object()?.iter();
    match (entries.next()?, entries.next()) {
        ((name, arguments @ Value::Object(_)), None) if tools.contains_key(name) => {
            Some((name.clone(), arguments.to_string()))
        }
        _ => None,
    }
}
