//! Llama 3: `{"name": .., "parameters": {..}}` alone, or after `<|python_tag|>`; and `<function=name>{..}</function>`.

use super::cursor::{Call, Cursor, Stop, Tools};
use super::family::Family;
use super::functions::function;
use super::json_calls::json_calls;

const TAG: &str = "<|python_tag|>";

pub(super) static FAMILY: Family = Family {
    markers: &[TAG, "<function="],
    at_start: &["{"],
    tags: &[TAG],
    ..Family::new("llama", &[TAG, "{\"name\": function name, \"parameters\":"], read)
};

fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.skip(TAG);
    if cursor.rest().starts_with("<function=") {
        return function(cursor, tools).map(|call| vec![call]);
    }
    json_calls(cursor, tools)
}
