//! Python's `csv.reader` with its defaults, which is more lenient than the crate `csv`: rows may differ in length, a blank
//! line is a row without fields, and text may follow a quoted field.

/// Python refuses longer fields.
const LONGEST_FIELD: usize = 131_072;

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    RowStart,
    FieldStart,
    Field,
    Quoted,
    /// After a quote in a quoted field: its end, or the first of two.
    Quote,
    RowEnd,
}

/// The rows of the text; none where the reader raises an error: at a field that is too long, and at a carriage return that
/// does not end its line.
pub(super) fn rows(text: &str, delimiter: char) -> Option<Vec<Vec<String>>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), Field::default());
    let mut state = State::RowStart;
    for line in text.split_inclusive('\n') {
        for letter in line.chars() {
            state = step(state, letter, delimiter, &mut row, &mut field)?;
        }
        // The line's end, whatever characters it was made of.
        match state {
            State::Quoted => continue,
            State::FieldStart | State::Field | State::Quote => row.push(field.take()),
            State::RowStart | State::RowEnd => {}
        }
        rows.push(std::mem::take(&mut row));
        state = State::RowStart;
    }
    if state == State::Quoted {
        row.push(field.take());
        rows.push(row);
    }
    Some(rows)
}

/// A field as far as it was read.
#[derive(Default)]
struct Field {
    text: String,
    length: usize,
}

impl Field {
    /// None if the field becomes too long.
    fn add(&mut self, letter: char) -> Option<()> {
        self.text.push(letter);
        self.length += 1;
        (self.length <= LONGEST_FIELD).then_some(())
    }

    fn take(&mut self) -> String {
        std::mem::take(self).text
    }
}

fn step(
    state: State,
    letter: char,
    delimiter: char,
    row: &mut Vec<String>,
    field: &mut Field,
) -> Option<State> {
    let is_break = matches!(letter, '\n' | '\r');
    Some(match state {
        State::RowEnd if is_break => State::RowEnd,
        State::RowEnd => return None,
        State::RowStart if is_break => State::RowEnd,
        State::RowStart | State::FieldStart if letter == '"' => State::Quoted,
        State::Quoted if letter == '"' => State::Quote,
        State::Quoted => {
            field.add(letter)?;
            State::Quoted
        }
        State::Quote if letter == '"' => {
            field.add(letter)?;
            State::Quoted
        }
        _ if is_break => {
            row.push(field.take());
            State::RowEnd
        }
        _ if letter == delimiter => {
            row.push(field.take());
            State::FieldStart
        }
        _ => {
            field.add(letter)?;
            State::Field
        }
    })
}

#[cfg(test)]
mod tests {
    /// The expected values are those of Python 3.11.
    #[test]
    fn rows_are_those_of_python() {
        let rows = |text| {
            let rows = super::rows(text, ',')?;
            Some(rows.iter().map(|row| row.join("|")).collect::<Vec<_>>().join(";"))
        };
        let expected = [
            ("a,b\r\nc,,\n\nd", "a|b;c||;;d"),
            ("\"a,\"\"\n b\"x,y\"z", "a,\"\n bx|y\"z"),
            ("a,\"open\nto the end\n", "a|open\nto the end\n"),
            ("a\r\r\nb,\" c", "a;b| c"),
        ];
        for (text, joined) in expected {
            assert_eq!(rows(text).as_deref(), Some(joined), "{text:?}");
        }
        assert_eq!(rows("a\rb"), None);
        assert_eq!(super::rows("", ','), Some(Vec::new()));
        let long = "x".repeat(131_072);
        assert!(super::rows(&long, ',').is_some() && super::rows(&format!("{long}x"), ',').is_none());
    }
}
