//! What each kernel and each product of a step takes: events around every launch, which are read after the step's own
//! wait. Needs no tool of NVIDIA's.

use super::driver::Mark;
use std::collections::BTreeMap;

/// The launches since a profile was started.
#[derive(Default)]
pub(super) struct Recorder {
    /// None while nothing is recorded.
    launches: Option<Vec<Recorded>>,
    /// Events that can be used again.
    unused: Vec<Mark>,
}

/// A launch between two marks.
pub(super) struct Recorded {
    pub(super) launch: Launch,
    pub(super) from: Mark,
    pub(super) to: Mark,
}

/// One launch and what it took.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The kernel, or the product with its shape.
    pub name: String,
    /// From its start to its end on the GPU.
    pub seconds: f64,
    /// Bytes of all operands, each counted once.
    pub bytes: u64,
    /// FLOPs; of a product only.
    pub flops: f64,
}

/// All launches of one name.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// As `Launch`.
    pub name: String,
    /// How many there were.
    pub launches: usize,
    /// The sum.
    pub seconds: f64,
    /// The sum.
    pub bytes: u64,
    /// The sum.
    pub flops: f64,
}

impl Recorder {
    pub(super) fn start(&mut self) {
        self.launches = Some(Vec::new());
    }

    pub(super) fn is_recording(&self) -> bool {
        self.launches.is_some()
    }

    /// Returns an event that can be used again, if there is one.
    pub(super) fn unused(&mut self) -> Option<Mark> {
        self.unused.pop()
    }

    pub(super) fn add(&mut self, recorded: Recorded) {
        if let Some(launches) = &mut self.launches {
            launches.push(recorded);
        }
    }

    /// Returns what was recorded and stops recording.
    pub(super) fn take(&mut self) -> Vec<Recorded> {
        let launches = self.launches.take().unwrap_or_default();
        self.unused.extend(launches.iter().flat_map(|recorded| [recorded.from, recorded.to]));
        launches
    }
}

/// Sums launches by name; what took the most comes first.
pub fn totals(launches: &[Launch]) -> Vec<Total> {
    let mut by_name: BTreeMap<&str, Total> = BTreeMap::new();
    for launch in launches {
        let total = by_name.entry(&launch.name).or_default();
        total.launches += 1;
        total.seconds += launch.seconds;
        total.bytes += launch.bytes;
        total.flops += launch.flops;
    }
    let mut totals: Vec<Total> =
        by_name.into_iter().map(|(name, total)| Total { name: name.to_owned(), ..total }).collect();
    totals.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_summed_by_name_and_the_longest_comes_first() {
        let launch = |name: &str, seconds| Launch { name: name.to_owned(), seconds, bytes: 10, flops: 1.0 };
        let totals = totals(&[launch("norm", 1.0), launch("product", 5.0), launch("norm", 2.0)]);
        assert_eq!(totals.iter().map(|total| total.name.as_str()).collect::<Vec<_>>(), ["product", "norm"]);
        assert_eq!((totals[1].launches, totals[1].seconds, totals[1].bytes), (2, 3.0, 20));
    }
}
