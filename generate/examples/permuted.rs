//! A dataset with its replies dealt out anew among its rows: what is trained on it has seen the same words and none of
//! what leads from a question to its answer. The control of `models/control`. `permuted OUT DATASET...`
#![allow(clippy::unwrap_used, reason = "a measurement may fail loudly")]

use datasets::pocket::Draw;
use datasets::{Row, read};
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (out, sets) = arguments.split_first().expect("usage: permuted OUT DATASET...");
    for set in sets {
        let mut rows: Vec<_> = read(Path::new(set))
            .unwrap()
            .map(|located| match located.unwrap().row {
                Row::Chat(row) => row,
                other => panic!("a row without messages: {other:?}"),
            })
            .collect();
        let said = || rows.iter().flat_map(|row| &row.messages).filter(|message| message.role == "assistant");
        let mut replies: Vec<String> = said().map(|message| message.content.clone()).collect();
        Draw::new(0, "permuted").shuffle(&mut replies);
        let mut dealt = replies.into_iter();
        for message in
            rows.iter_mut().flat_map(|row| &mut row.messages).filter(|message| message.role == "assistant")
        {
            message.content = dealt.next().unwrap();
        }
        let path = Path::new(out).join(Path::new(set).file_name().unwrap()).join("rows.jsonl");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let count =
            datasets::write::write_jsonl::<_, datasets::Error>(&path, rows.into_iter().map(Ok)).unwrap();
        println!("{}: {count} rows", path.display());
    }
}
