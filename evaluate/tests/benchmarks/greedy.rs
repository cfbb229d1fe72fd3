//! Greedy texts of the real model, compared with those of lm-evaluation-harness: equal, or they part where two logits are
//! a near-tie.

use super::*;
use checkpoint::Checkpoint;
use engine::{CacheFormat, Chunk, KvCache, LogitPositions, Model, WeightFormat};

/// Two logits this close to each other are a near-tie, at which texts in float32 may part.
const NEAR_TIE: f32 = 1e-3;

/// What the model thinks of one token of a golden text.
struct Step {
    golden: u32,
    golden_logit: f32,
    best: u32,
    best_logit: f32,
    second_logit: f32,
}

/// The logits along a golden text: of its own token and of the two best ones, at each position.
fn steps(model: &Model, checkpoint: &Checkpoint, golden: &Value) -> Vec<Step> {
    let context = checkpoint.tokenizer.encode(golden["context"].as_str().unwrap()).unwrap().ids;
    assert_eq!(context.len() as u64, golden["context_tokens"].as_u64().unwrap());
    let ids = golden["output_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32);
    let ids: Vec<u32> = context.iter().copied().chain(ids).collect();
    let mut cache = KvCache::new();
    let logits = LogitPositions::From(context.len() - 1);
    let chunk =
        Chunk { ids: &ids[..ids.len() - 1], cache: &mut cache, logits, hidden_sum: None, adapter: None };
    let logits = model.forward(&mut [chunk]); // (R, V)
    let rows = logits.chunks_exact(model.config().vocab_size).zip(&ids[context.len()..]);
    rows.map(|(row, golden)| {
        let mut order: Vec<u32> = (0..row.len() as u32).collect();
        order.select_nth_unstable_by(1, |one, other| row[*other as usize].total_cmp(&row[*one as usize]));
        let logit = |id: u32| row[id as usize];
        Step {
            golden: *golden,
            golden_logit: logit(*golden),
            best: order[0],
            best_logit: logit(order[0]),
            second_logit: logit(order[1]),
        }
    })
    .collect()
}

/// Compares greedy texts with golden ones. Where they part, two logits must be a near-tie, which is printed.
fn compare_texts(task: &str, rows: &BTreeMap<u64, Value>, golden: &[Value], model: &Path) {
    let checkpoint = Checkpoint::open(&model.display().to_string(), None).unwrap();
    let model = Model::load(&checkpoint, WeightFormat::F32, CacheFormat::F32);
    let (mut same, mut parted) = (0, 0);
    for golden in golden.iter().filter(|golden| rows.contains_key(&golden["doc_id"].as_u64().unwrap())) {
        let id = golden["doc_id"].as_u64().unwrap();
        let (own, theirs) = (rows[&id]["response"].as_str().unwrap(), golden["response"].as_str().unwrap());
        if let Some(gap) = golden["min_top2_logit_gap"].as_f64().filter(|_| same == 0) {
            let gaps =
                steps(&model, &checkpoint, golden).into_iter().map(|one| one.best_logit - one.second_logit);
            let own_gap = gaps.fold(f32::INFINITY, f32::min);
            assert!((f64::from(own_gap) - gap).abs() < f64::from(NEAR_TIE), "{task} {id}: {own_gap}, {gap}");
        }
        if own == theirs {
            same += 1;
            continue;
        }
        parted += 1;
        let steps = steps(&model, &checkpoint, golden);
        let at = steps.iter().position(|step| step.best != step.golden);
        let at = at.unwrap_or_else(|| panic!("{task} {id}: {own:?} is not {theirs:?}, without a near-tie"));
        let Step { golden, golden_logit, best, best_logit, .. } = steps[at];
        println!(
            "{task} {id}, token {at}: {best} has logit {best_logit}, the golden's {golden} has {golden_logit}"
        );
        assert!(best_logit - golden_logit <= NEAR_TIE, "{task} {id}: no near-tie, {own:?} is not {theirs:?}");
        let before: Vec<u32> = steps[..at].iter().map(|step| step.golden).collect();
        assert!(
            own.starts_with(&checkpoint.tokenizer.decode(&before, true).unwrap()),
            "{task} {id}: {own:?}"
        );
    }
    println!("{task}: {same} texts are the same, {parted} part at a near-tie");
    assert!(same > 0 && same + parted == rows.len());
}

#[test]
fn greedy_texts_are_lm_evals() {
    let Some((data, model)) = shared_and_model() else { return };
    let model = transformers_5(&model);
    let goldens = |name: &str| lines(&data.join(format!("goldens/evaluation/{name}.jsonl")));
    let (gsm8k, mut ifeval) = (goldens("gsm8k"), goldens("ifeval_chat"));
    let limit = documents().min(gsm8k.len()).to_string();
    let (rows, _) = score(&data.join("evaluation"), model.path(), "gsm8k", &["--limit", &limit]);
    compare_texts("gsm8k", &rows["gsm8k"], &gsm8k, model.path());
    // Half of them run to their limit of 1,280 tokens: by default only shorter ones.
    ifeval.sort_by_key(|golden| golden["output_tokens"].as_u64());
    ifeval.truncate(if documents() > DOCUMENTS { usize::MAX } else { DOCUMENTS / 2 });
    let samples: Vec<String> = ifeval.iter().map(|golden| golden["doc_id"].to_string()).collect();
    let more = ["--chat-template", "--samples", &samples.join(",")];
    let (rows, _) = score(&data.join("evaluation"), model.path(), "ifeval", &more);
    compare_texts("ifeval", &rows["ifeval"], &ifeval, model.path());
}
