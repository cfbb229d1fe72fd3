//! Jupyter notebooks as text: code cells as they are, explanations as comments, no outputs.

use super::languages::named;
use serde_json::Value;

/// The language of a notebook, and its text.
///
/// # Errors
/// Says why it is no notebook.
pub(super) fn read(text: &str) -> Result<(&'static str, String), String> {
    let notebook: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let metadata = &notebook["metadata"];
    let language = [&metadata["language_info"]["name"], &metadata["kernelspec"]["language"]];
    let language = language.into_iter().find_map(Value::as_str).unwrap_or("python");
    let language = named(language).ok_or_else(|| format!("a notebook of {language}"))?;
    // Version 3 of the format has worksheets.
    let cells =
        [&notebook["cells"], &notebook["worksheets"][0]["cells"]].into_iter().find_map(Value::as_array);
    let cells = cells.ok_or("it has no cells")?;
    let parts: Vec<String> = cells.iter().filter_map(|cell| part(cell, comment(language))).collect();
    if parts.is_empty() {
        return Err("all cells are empty".to_owned());
    }
    Ok((language, parts.join("\n\n") + "\n"))
}

/// What a comment begins with.
fn comment(language: &str) -> &'static str {
    match language {
        "Python" | "Ruby" | "Shell" => "# ",
        "SQL" => "-- ",
        _ => "// ",
    }
}

/// The text of a cell; `None` for one without.
fn part(cell: &Value, comment: &str) -> Option<String> {
    let source = [&cell["source"], &cell["input"]].into_iter().find(|source| !source.is_null())?;
    let source = match source {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect::<String>(),
        source => source.as_str()?.to_owned(),
    };
    let source = source.trim_end();
    if source.is_empty() {
        return None;
    }
    match cell["cell_type"].as_str()? {
        "code" => Some(source.to_owned()),
        "markdown" => {
            let line = |line: &str| format!("{comment}{line}").trim_end().to_owned();
            Some(source.lines().map(line).collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}
