//! The lines that are printed, and verdicts over many comparisons.

use training::gpu::compare::Comparison;

/// Prints a result: what, the number, what is required or expected, the verdict.
pub(crate) fn line(what: &str, value: &str, expected: &str, verdict: &str) {
    println!("{what}\t{value}\t{expected}\t{verdict}");
}

/// Prints the wrong comparisons, and for each limit the one that came nearest to it; those without a limit are only told.
/// Standard error has all of them.
pub(crate) fn report(what: &str, comparisons: &[Comparison]) -> bool {
    let wrong: Vec<&Comparison> = comparisons.iter().filter(|comparison| !comparison.passes()).collect();
    wrong.iter().for_each(|comparison| println!("{comparison}"));
    for limit in [0.0, 1e-4, 1e-2, 5e-2, f64::INFINITY] {
        let group: Vec<&Comparison> =
            comparisons.iter().filter(|comparison| comparison.limit == limit).collect();
        let worst = group.iter().max_by(|a, b| a.difference.abs().total_cmp(&b.difference.abs()));
        if let Some(worst) = worst {
            let name =
                if limit == 0.0 { "to the same bits".to_owned() } else { format!("worst is {}", worst.what) };
            let (expected, right) = match limit.is_finite() {
                true => (format!("{limit:.0e}"), "ok"),
                false => ("-".to_owned(), "-"),
            };
            let verdict = if group.iter().all(|comparison| comparison.passes()) { right } else { "WRONG" };
            let what = format!("{what}: {} comparisons, {name}", group.len());
            line(&what, &format!("{:.1e}", worst.difference), &expected, verdict);
        }
    }
    wrong.is_empty() && !comparisons.is_empty()
}
