//! Measures the speed of the native model in prefill, decoding and batched decoding, without HTTP. Prints one JSON line
//! per measurement. The comparison with llama.cpp in BENCHMARKS.md uses it.
//!
//! Options: `--model FOLDER_OR_GGUF`, `--threads N`, `--format own|f32|bf16|q8_0|q4_0|q4_1|q5_0`, `--cache f32|f16|bf16`, `--prompt TOKENS`,
//! `--repeat N`, `--depths LIST`, `--generate TOKENS`, `--batches LIST`.
#![allow(clippy::unwrap_used, reason = "a measurement may fail loudly")]

use checkpoint::Checkpoint;
use engine::{CacheFormat, Chunk, KvCache, LogitPositions, Model, WeightFormat};
use std::time::Instant;

fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    arguments.next()
}

fn number(name: &str, default: usize) -> usize {
    option(name).map_or(default, |text| text.parse().unwrap())
}

fn list(name: &str, default: &str) -> Vec<usize> {
    let text = option(name).unwrap_or_else(|| default.to_owned());
    text.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
}

fn main() {
    if let Some(threads) = option("--threads") {
        engine::set_threads(threads.parse().unwrap());
    }
    let start = Instant::now();
    let checkpoint = Checkpoint::open(&option("--model").expect("--model FOLDER"), None).unwrap();
    let opened = start.elapsed().as_secs_f64();
    let model = Model::load(&checkpoint, weights(), cache());
    let seconds = start.elapsed().as_secs_f64();
    println!(r#"{{"what":"load","open_seconds":{opened:.3},"seconds":{seconds:.3}}}"#);
    let memory = Memory::new();
    let vocabulary = model.config().vocab_size as u32;
    let ids: Vec<u32> = (0..8192u32).map(|i| i.wrapping_mul(2_654_435_761) % vocabulary).collect();
    let prompt = number("--prompt", 512);
    if prompt > 0 {
        prefill(&model, &ids[..prompt]);
    }
    for depth in list("--depths", "16,1024") {
        decode(&model, &ids, depth, &memory);
    }
    for sequences in list("--batches", "") {
        batch(&model, &ids, sequences);
    }
}

/// `own` is the checkpoint's own format.
fn weights() -> Option<WeightFormat> {
    Some(match option("--format").as_deref().unwrap_or("f32") {
        "own" => return None,
        "f32" => WeightFormat::F32,
        "bf16" => WeightFormat::Bf16,
        "q8_0" => WeightFormat::Q8_0,
        "q4_0" => WeightFormat::Q4_0,
        "q4_1" => WeightFormat::Q4_1,
        "q5_0" => WeightFormat::Q5_0,
        other => panic!("`--format` is {other}; expected own, f32, bf16, q8_0, q4_0, q4_1 or q5_0"),
    })
}

fn cache() -> CacheFormat {
    match option("--cache").as_deref().unwrap_or("f16") {
        "f32" => CacheFormat::F32,
        "f16" => CacheFormat::F16,
        "bf16" => CacheFormat::Bf16,
        other => panic!("`--cache` is {other}; expected f32, f16 or bf16"),
    }
}

/// Measures the prefill of a prompt.
fn prefill(model: &Model, ids: &[u32]) {
    let mut best = 0.0f64;
    let (repeat, busy) = (number("--repeat", 3), cpu_seconds());
    for _ in 0..repeat {
        let start = Instant::now();
        run(model, ids, &mut KvCache::new());
        best = best.max(ids.len() as f64 / start.elapsed().as_secs_f64());
    }
    let of_cpu = (repeat * ids.len()) as f64 / (cpu_seconds() - busy);
    println!(
        r#"{{"what":"prefill","tokens":{},"tokens_per_second":{best:.1},"tokens_per_cpu_second":{of_cpu:.1}}}"#,
        ids.len()
    );
}

/// Measures decoding at a depth. Every sixteen tokens it measures the memory bandwidth, which changes over minutes on
/// shared machines.
fn decode(model: &Model, ids: &[u32], depth: usize, memory: &Memory) {
    let generate = number("--generate", 64);
    let mut cache = KvCache::new();
    ids[..depth].chunks(512).for_each(|ids| run(model, ids, &mut cache));
    let shape = model.cache_shape();
    let position = 2 * shape.layers * shape.kv_heads * shape.head_dim * shape.format.bytes();
    let bytes = model.bytes_per_step() + (depth + generate / 2) * position;
    let (mut decoding, mut reading, mut read, mut busy) = (0.0, 0.0, 0, 0.0);
    for ids in ids[..generate].chunks(16) {
        reading += memory.read();
        read += memory.bytes();
        let (start, before) = (Instant::now(), cpu_seconds());
        for id in ids {
            run(model, &[*id], &mut cache);
        }
        decoding += start.elapsed().as_secs_f64();
        busy += cpu_seconds() - before;
    }
    let rate = generate as f64 / decoding;
    let of_cpu = generate as f64 / busy;
    let bandwidth = read as f64 / reading;
    let share = rate * bytes as f64 / bandwidth;
    println!(
        r#"{{"what":"decode","depth":{depth},"tokens_per_second":{rate:.1},"tokens_per_cpu_second":{of_cpu:.1},"bytes_per_token":{bytes},"bandwidth":{bandwidth:.0},"of_bandwidth":{share:.3}}}"#
    );
}

/// The time that all threads of this program have computed, in seconds; of use beside other work, which takes time from
/// both sides of a comparison unevenly. In steps of 10 ms; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Measures decoding of several sequences together.
fn batch(model: &Model, ids: &[u32], sequences: usize) {
    let generate = number("--generate", 64);
    let mut caches: Vec<KvCache> = (0..sequences).map(|_| KvCache::new()).collect();
    let start = Instant::now();
    for id in &ids[..generate] {
        let chunk = |cache| Chunk {
            ids: std::slice::from_ref(id),
            cache,
            logits: LogitPositions::Last,
            hidden_sum: None,
            adapter: None,
        };
        let mut chunks: Vec<Chunk<'_>> = caches.iter_mut().map(chunk).collect();
        model.recycle(std::hint::black_box(model.forward(&mut chunks)));
    }
    let rate = (sequences * generate) as f64 / start.elapsed().as_secs_f64();
    println!(r#"{{"what":"batch","sequences":{sequences},"tokens_per_second":{rate:.1}}}"#);
}

fn run(model: &Model, ids: &[u32], cache: &mut KvCache) {
    let chunk = Chunk { ids, cache, logits: LogitPositions::Last, hidden_sum: None, adapter: None };
    model.recycle(std::hint::black_box(model.forward(&mut [chunk])));
}

/// A buffer larger than any CPU cache, read by all threads together.
struct Memory(Vec<u64>);

impl Memory {
    fn new() -> Self {
        Self(vec![1; (1 << 30) / 8 + (1 << 27) / 8])
    }

    fn bytes(&self) -> usize {
        self.0.len() * 8
    }

    /// Reads all of it; returns the time in seconds.
    fn read(&self) -> f64 {
        let parts = engine::threads() * 8;
        let part = self.0.len() / parts;
        let start = Instant::now();
        kernels::parallel_for(parts, |index| {
            let mut sums = [0u64; 64];
            for chunk in self.0[index * part..(index + 1) * part].as_chunks::<64>().0 {
                for (sum, number) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(*number);
                }
            }
            std::hint::black_box(sums);
        });
        start.elapsed().as_secs_f64()
    }
}
