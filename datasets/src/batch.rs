//! Rows that are worked on together, on all cores: as many as are worth it, but never more than some bytes of them. A row
//! may have hundreds of megabytes, and a file of a few kilobytes thousands of such rows.

use crate::{LocatedRow, Message, QuickRow, RawRow, Row};
use serde_json::{Map, Value};

/// Bytes of texts after which no further row is added.
const BYTES: usize = 64 << 20;
/// Bytes of a value beside its texts.
const OF_VALUE: usize = 32;

/// What takes memory.
pub trait Size {
    /// About how many bytes it takes.
    fn size(&self) -> usize;
}

/// The next rows, and errors between them: at most `most`, and fewer of large ones; none at the end.
pub fn batch<R: Size, E>(rows: &mut impl Iterator<Item = Result<R, E>>, most: usize) -> Vec<Result<R, E>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < most && bytes < BYTES {
        let Some(row) = rows.next() else { break };
        bytes += row.as_ref().map_or(0, Size::size);
        batch.push(row);
    }
    batch
}

impl Size for String {
    fn size(&self) -> usize {
        self.len()
    }
}

impl<T: Size> Size for (usize, T) {
    fn size(&self) -> usize {
        self.1.size()
    }
}

impl Size for QuickRow {
    fn size(&self) -> usize {
        match self {
            Self::Plain(row) => row.size(),
            Self::Raw(row) => row.size(),
        }
    }
}

impl Size for RawRow {
    fn size(&self) -> usize {
        object(&self.object)
    }
}

impl Size for LocatedRow {
    fn size(&self) -> usize {
        let of_list =
            |list: &[Message]| list.iter().map(|message| message.content.len() + OF_VALUE).sum::<usize>();
        let texts = match &self.row {
            Row::Chat(row) => of_list(&row.messages),
            Row::Preference(row) => of_list(&row.prompt) + of_list(&row.chosen) + of_list(&row.rejected),
            Row::Text(row) => row.text.len(),
        };
        texts + object(self.row.metadata())
    }
}

fn object(object: &Map<String, Value>) -> usize {
    object.iter().map(|(name, of_name)| name.len() + value(of_name)).sum()
}

fn value(value: &Value) -> usize {
    OF_VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(self::value).sum(),
            Value::Object(fields) => object(fields),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_few_large_rows_and_every_error() {
        let mut rows =
            vec![Ok("a".repeat(40 << 20)); 3].into_iter().chain([Err("bad")]).chain([Ok("b".into())]);
        let sizes = |batch: Vec<Result<String, &str>>| -> Vec<usize> {
            batch.into_iter().map(|row| row.map_or(0, |text| text.len() >> 20)).collect()
        };
        assert_eq!(sizes(batch(&mut rows, 10)), [40, 40]);
        assert_eq!(sizes(batch(&mut rows, 10)), [40, 0, 0]);
        assert!(batch(&mut rows, 10).is_empty());
        let mut small = vec![Ok::<_, ()>("a".to_owned()); 5].into_iter();
        assert_eq!([batch(&mut small, 3).len(), batch(&mut small, 3).len()], [3, 2]);
    }
}
