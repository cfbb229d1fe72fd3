//! GLM from 4.5 on: `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`, with or without line
//! ends between them.

use super::cursor::{Call, Cursor, Stop, Tools, typed};
use super::family::Family;
use super::functions::kind_of;
use super::hermes::TAG;
use serde_json::{Map, Value};

const KEY: &str = "<arg_key>";
const KEY_END: &str = "</arg_key>";
const VALUE: &str = "<arg_value>";
const VALUE_END: &str = "</arg_value>";
const END: &str = "</tool_call>";

pub(super) static FAMILY: Family = Family {
    markers: &[TAG],
    tags: &[TAG, END, KEY, KEY_END, VALUE, VALUE_END],
    ..Family::new("glm", &[KEY], read)
};

fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.expect(TAG)?;
    let end = match cursor.rest().find('<') {
        Some(end) => end,
        None if cursor.has_ended => cursor.rest().len(),
        None => return Err(Stop::Incomplete),
    };
    let name = cursor.rest()[..end].trim().to_owned();
    let schema = tools.get(&name).ok_or(Stop::NoCall)?;
    cursor.position += end;
    let mut arguments = Map::new();
    loop {
        cursor.skip_space();
        if !cursor.skip_whole(KEY)? {
            cursor.close(END)?;
            return Ok(vec![(name, Value::Object(arguments).to_string())]);
        }
        let key = cursor.until(KEY_END)?.trim().to_owned();
        cursor.skip_space();
        cursor.expect(VALUE)?;
        let value = cursor.until(VALUE_END)?;
        let kind = kind_of(schema.as_ref(), &key);
        arguments.insert(key, typed(value, kind));
    }
}
