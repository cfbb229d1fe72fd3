//! Calls in tags with attributes: `<invoke name="f"><parameter name="key">value</parameter></invoke>`.

use super::cursor::{Call, Cursor, Stop, Tools, typed};
use super::functions::{kind_of, without_line_ends};
use serde_json::{Map, Value};

/// The beginning and the end of a value that is taken as it is.
const VERBATIM: [&str; 2] = ["<![CDATA[", "]]>"];

/// The tags of a family. Those with attributes are without what comes after the word.
pub(super) struct Tags {
    /// Around all calls; none where calls follow one another.
    pub(super) around: &'static [(&'static str, &'static str)],
    pub(super) call: (&'static str, &'static str),
    pub(super) parameter: (&'static str, &'static str),
}

/// The calls between the tags.
pub(super) fn calls(cursor: &mut Cursor<'_>, tools: &Tools, tags: &Tags) -> Result<Vec<Call>, Stop> {
    let around = tags.around.iter().find(|(open, _)| cursor.skip(open));
    let close = around.map_or("", |(_, close)| close);
    let (call, call_end) = tags.call;
    cursor.several(call, close, |cursor| {
        cursor.expect(call)?;
        let name = attribute(cursor.until(">")?, "name").ok_or(Stop::NoCall)?.to_owned();
        let schema = tools.get(&name).ok_or(Stop::NoCall)?;
        let arguments = parameters(cursor, schema.as_ref(), tags)?;
        cursor.close(call_end)?;
        Ok((name, Value::Object(arguments).to_string()))
    })
}

fn parameters(
    cursor: &mut Cursor<'_>,
    schema: Option<&Map<String, Value>>,
    tags: &Tags,
) -> Result<Map<String, Value>, Stop> {
    let (open, close) = tags.parameter;
    let mut arguments = Map::new();
    loop {
        cursor.skip_space();
        if !cursor.skip_whole(open)? {
            return Ok(arguments);
        }
        let tag = cursor.until(">")?;
        let name = attribute(tag, "name").ok_or(Stop::NoCall)?.to_owned();
        let value = if cursor.skip_whole(VERBATIM[0])? {
            let text = cursor.until(VERBATIM[1])?;
            cursor.expect(close)?;
            text.into()
        } else {
            let text = cursor.until(close)?;
            match attribute(tag, "string") {
                Some("true") => text.into(),
                Some(_) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
                None => typed(without_line_ends(text), kind_of(schema, &name)),
            }
        };
        arguments.insert(name, value);
    }
}

/// The value of an attribute.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}
