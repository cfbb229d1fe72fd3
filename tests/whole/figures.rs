//! The figures on the front page are those of the benchmark pages, and its pictures are drawn from them.
//! `SMOL_WRITE_PICTURES=1 cargo test --release --test whole -- figures` draws them again.

use crate::programs::of_project;
use std::fmt::Write;

/// A table of a page: its cells without white space around them, the header first.
struct Table(Vec<Vec<String>>);

impl Table {
    /// The cell below a column of the row that begins with `row`.
    #[track_caller]
    fn cell(&self, row: &str, column: &str) -> &str {
        let place = self.0[0].iter().position(|name| name == column);
        let place = place.unwrap_or_else(|| panic!("no column `{column}` in {:?}", self.0[0]));
        let found = self.0.iter().find(|cells| cells[0].contains(row));
        &found.unwrap_or_else(|| panic!("no row `{row}` below {:?}", self.0[0]))[place]
    }

    #[track_caller]
    fn number(&self, row: &str, column: &str) -> f64 {
        number(self.cell(row, column))
    }

    /// The smallest and the largest number of a column.
    fn range(&self, column: &str) -> (f64, f64) {
        let place = self.0[0].iter().position(|name| name == column).unwrap();
        let numbers = self.0[1..].iter().map(|cells| number(&cells[place]));
        numbers.fold((f64::MAX, 0.0), |(low, high), one| (low.min(one), high.max(one)))
    }
}

/// The number that a cell begins with.
#[track_caller]
fn number(cell: &str) -> f64 {
    let text = cell.replace(',', "");
    text.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("`{cell}` begins with no number"))
}

fn read(page: &str) -> String {
    std::fs::read_to_string(of_project(page)).unwrap()
}

/// The tables below a heading, up to the next one.
#[track_caller]
fn tables(page: &str, heading: &str) -> Vec<Table> {
    let text = read(page);
    let section = text.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("{page} has no section `{heading}`"));
    let mut tables: Vec<Table> = Vec::new();
    let mut is_inside = false;
    for line in section.lines() {
        let row = line.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
        if let Some(row) = row.filter(|row| !row.starts_with(" ---")) {
            let cells = row.split('|').map(|cell| cell.trim().to_owned()).collect();
            match tables.last_mut() {
                Some(Table(rows)) if is_inside => rows.push(cells),
                _ => tables.push(Table(vec![cells])),
            }
        }
        is_inside = row.is_some();
    }
    assert!(!tables.is_empty(), "{page} has no table below `{heading}`");
    tables
}

/// How many times as fast as a program for the same work; a range where there are several measurements.
struct Ratio {
    what: &'static str,
    peer: &'static str,
    low: f64,
    high: f64,
}

impl Ratio {
    fn new(what: &'static str, peer: &'static str, (low, high): (f64, f64)) -> Self {
        Self { what, peer, low, high }
    }

    fn text(&self) -> String {
        let (low, high) = (rounded(self.low), rounded(self.high));
        if low == high { low } else { format!("{low} to {high}") }
    }
}

/// One decimal, halves away from zero, as one rounds what is printed with two.
fn rounded(number: f64) -> String {
    format!("{:.1}", (number * 10.0 + 1e-6).round() / 10.0)
}

/// The ratios on the front page, from the tables of BENCHMARKS.md.
fn ratios() -> Vec<Ratio> {
    let of = |heading: &str, index: usize| tables("BENCHMARKS.md", heading).swap_remove(index);
    let generating = of("Generating beside distilabel", 0);
    let rows = generating.number("the same, with start", "rows or calls a second")
        / generating.number("distilabel", "rows or calls a second");
    let tuning = of("SFT and DPO beside TRL", 0);
    let once = |ratio: f64| (ratio, ratio);
    vec![
        Ratio::new("Making a dataset, rows/s", "distilabel", once(rows)),
        Ratio::new("SFT, whole run", "TRL", once(tuning.number("SFT", "ratio"))),
        Ratio::new("DPO, whole run", "TRL", once(tuning.number("DPO", "ratio"))),
        Ratio::new("Pretraining, tokens/s", "PyTorch", of("Training steps beside PyTorch", 0).range("ratio")),
        Ratio::new(
            "Benchmarks, documents/s",
            "lm-eval",
            of("Scoring beside lm-evaluation-harness", 0).range("ratio"),
        ),
        Ratio::new(
            "Server, tokens/s of 8 requests",
            "llama-server",
            of("Serving beside llama.cpp", 1).range("ratio"),
        ),
        Ratio::new("GGUF files, tokens/s", "llama.cpp", of("GGUF files as they are", 0).range("ratio")),
    ]
}

/// The README without line ends, so that a phrase may be wrapped.
fn front_page() -> String {
    read("README.md").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn ratios_on_the_front_page_are_those_of_the_benchmarks() {
    let ratios = ratios();
    let [gen_, sft, dpo, pretrain, scoring, server, gguf] =
        ratios.iter().map(Ratio::text).collect::<Vec<_>>().try_into().unwrap();
    let phrases = [
        format!("{gen_} times distilabel's rows/s"),
        format!("{sft} times TRL's SFT and {dpo} times its DPO"),
        format!("{pretrain} times PyTorch's pretraining"),
        format!("{scoring} times its documents/s"),
        format!("{server} times llama-server's tokens/s"),
        format!("{gguf} times llama.cpp's on its own files"),
    ];
    let page = front_page();
    for phrase in &phrases {
        assert!(page.contains(phrase), "README.md does not say `{phrase}`, which BENCHMARKS.md does");
    }
    let table = read("README.md");
    let table = table
        .lines()
        .skip_while(|line| !line.starts_with("| program |"))
        .take_while(|line| line.starts_with('|'));
    let claims: usize = table.map(|line| line.matches(" times ").count()).sum();
    assert_eq!(claims, phrases.len() + 1, "a ratio in the README's beginning is not compared here");
    for ratio in &ratios {
        let spoken = format!("{}: {} times {}", ratio.what, ratio.text(), ratio.peer);
        assert!(
            page.contains(&spoken),
            "the picture's alternative text in README.md does not say `{spoken}`"
        );
    }
}

#[test]
fn scores_on_the_front_page_are_those_of_the_benchmarks() {
    let real = tables("BENCHMARKS.md", "The paper's benchmarks on a real model");
    let [table, followed] = real.as_slice() else { panic!("not two tables of the real model") };
    let tasks = ["arc (mean", "piqa", "hellaswag"];
    let with_error = |cell: &str| {
        let (score, error) = cell.split_once(" ± ").unwrap();
        format!("{} ± {}", rounded(number(score)), rounded(number(error)))
    };
    let measured = tasks.map(|task| with_error(table.cell(task, "acc_norm")));
    let strict = ["prompts, strict", "instructions, strict"].map(|row| {
        format!("{} of {}", with_error(followed.cell(row, "followed")), row.replace(", strict", ""))
    });
    let ifeval = followed.cell("mean of both, strict", "the model's card");
    let card = tasks.map(|task| table.cell(task, "the model's card"));
    let pocket = tables("pocket/BENCHMARKS.md", "").pop().unwrap();
    let answers =
        ["base, best of chat and 5-shot", "DPO"].map(|column| pocket.number("questions, average", column));
    let page = front_page();
    for phrase in [
        format!("| measured | {} | {} |", measured.join(" | "), strict.join(", ")),
        format!("| the model's card | {} | {ifeval}, the mean of both |", card.join(" | ")),
        format!("{:.1}% (base) to {:.1}% (after SFT and DPO)", answers[0], answers[1]),
    ] {
        assert!(page.contains(&phrase), "README.md does not say `{phrase}`");
    }
    let adapter = tables("BENCHMARKS.md", "An adapter beside full").swap_remove(0);
    let times = adapter.cell("adapter", "tokens/s").split(['(', ')']).nth(1).unwrap().to_owned();
    assert!(
        read("docs/lora.md").contains(&format!("{times} times as fast")),
        "docs/lora.md does not say {times}"
    );
}

/// Colors of the picture: of bars, of the part between the lowest and the highest ratio, of texts, of lines.
struct Colors {
    bar: &'static str,
    range: &'static str,
    ink: &'static str,
    quiet: &'static str,
    rule: &'static str,
}

const LIGHT: Colors =
    Colors { bar: "#2a7f78", range: "#9fd0cb", ink: "#22252a", quiet: "#5f656e", rule: "#d5d5d0" };
const DARK: Colors =
    Colors { bar: "#4fc1b5", range: "#28605b", ink: "#e6e7e9", quiet: "#9aa1ab", rule: "#3a3f47" };

/// Horizontal bars on a linear scale that begins at 0; a line at 1, where both are equally fast.
fn picture(ratios: &[Ratio], colors: &Colors) -> String {
    let (left, row, top, per_unit) = (330.0, 34.0, 52.0, 30.0);
    let height = top + row * ratios.len() as f64 + 26.0;
    let Colors { bar, range, ink, quiet, rule } = colors;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 780 {height}\" width=\"780\" height=\"{height}\" role=\"img\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', sans-serif\" font-size=\"14\">\n\
         <title>Speed on two CPU cores, as a multiple of a program for the same work</title>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"600\" fill=\"{ink}\">Speed on two CPU cores, as a multiple of a \
         program for the same work</text>\n"
    );
    let bottom = height - 22.0;
    for (index, ratio) in ratios.iter().enumerate() {
        let y = top + row * index as f64;
        let (low, high) = (ratio.low * per_unit, ratio.high * per_unit);
        write!(
            svg,
            "<text x=\"12\" y=\"{text}\" fill=\"{ink}\">{what} <tspan fill=\"{quiet}\">/ {peer}</tspan></text>\n\
             <rect x=\"{left}\" y=\"{y}\" width=\"{high:.1}\" height=\"20\" fill=\"{range}\"/>\n\
             <rect x=\"{left}\" y=\"{y}\" width=\"{low:.1}\" height=\"20\" fill=\"{bar}\"/>\n\
             <text x=\"{end:.1}\" y=\"{text}\" font-weight=\"600\" fill=\"{ink}\">{label}×</text>\n",
            text = y + 15.0,
            what = ratio.what,
            peer = ratio.peer,
            end = left + high + 8.0,
            label = ratio.text(),
        )
        .unwrap();
    }
    let one = left + per_unit;
    write!(
        svg,
        "<path d=\"M{left} {start}V{bottom}\" stroke=\"{rule}\"/>\n\
         <path d=\"M{one} {start}V{bottom}\" stroke=\"{ink}\" stroke-dasharray=\"3 3\"/>\n\
         <text x=\"{one}\" y=\"{label}\" text-anchor=\"middle\" font-size=\"12\" fill=\"{quiet}\">1×: equally fast</text>\n</svg>\n",
        start = top - 6.0,
        label = bottom + 16.0,
    )
    .unwrap();
    svg
}

#[test]
fn pictures_are_drawn_from_the_figures() {
    let ratios = ratios();
    for (name, colors) in [("light", &LIGHT), ("dark", &DARK)] {
        let (drawn, path) =
            (picture(&ratios, colors), of_project("docs").join(format!("images/ratios-{name}.svg")));
        if std::env::var_os("SMOL_WRITE_PICTURES").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &drawn).unwrap();
        }
        let is_new = std::fs::read_to_string(&path).is_ok_and(|found| found == drawn);
        assert!(
            is_new,
            "docs/images/ratios-{name}.svg is not what BENCHMARKS.md says; draw it again with SMOL_WRITE_PICTURES=1"
        );
        let photo = of_project("docs").join(format!("images/report-{name}.png"));
        let bytes = std::fs::metadata(&photo).unwrap().len();
        assert!(bytes < 200_000, "{} has {bytes} bytes", photo.display());
    }
}

#[test]
fn rounding_and_ranges_are_those_of_print() {
    assert_eq!((rounded(2.15), rounded(0.96), rounded(11.628)), ("2.2".into(), "1.0".into(), "11.6".into()));
    assert_eq!(Ratio::new("a", "b", (1.04, 0.96)).text(), "1.0");
    assert_eq!(number("5,369 MiB") + number("1.4e-5 relative"), 5369.0 + 1.4e-5);
}
