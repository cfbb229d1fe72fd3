//! Copies datasets with their replies shuffled among the rows. A model that is trained on a copy has seen the same
//! texts, but nothing that connects a question with its answer. `pocket/control` uses it. Usage: `permuted OUT
//! DATASET...`
#![allow(clippy::unwrap_used, reason = "a measurement may fail loudly")]

use datasets::{Row, read};
use pocket::Draw;
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (out, folders) = arguments.split_first().expect("usage: permuted OUT DATASET...");
    for folder in folders {
        let mut rows: Vec<_> = read(Path::new(folder))
            .unwrap()
            .map(|located| match located.unwrap().row {
                Row::Chat(row) => row,
                other => panic!("a row without messages: {other:?}"),
            })
            .collect();
        let messages =
            || rows.iter().flat_map(|row| &row.messages).filter(|message| message.role == "assistant");
        let mut replies: Vec<String> = messages().map(|message| message.content.clone()).collect();
        Draw::new(0, "permuted").shuffle(&mut replies);
        let mut replies = replies.into_iter();
        for message in
            rows.iter_mut().flat_map(|row| &mut row.messages).filter(|message| message.role == "assistant")
        {
            message.content = replies.next().unwrap();
        }
        let path = Path::new(out).join(Path::new(folder).file_name().unwrap()).join("rows.jsonl");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let count =
            datasets::write::write_jsonl::<_, datasets::Error>(&path, rows.into_iter().map(Ok)).unwrap();
        println!("{}: {count} rows", path.display());
    }
}
