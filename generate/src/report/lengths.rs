//! Lengths of messages and rows, counted in buckets.

/// Lengths in buckets: exact below 16, then eight buckets per doubling, so that a quantile is at most an eighth too
/// low.
#[derive(Default)]
pub(super) struct Lengths {
    buckets: Vec<u64>,
    pub(super) count: u64,
    sum: u64,
    pub(super) longest: u64,
}

impl Lengths {
    /// Counts a length.
    pub(super) fn add(&mut self, length: u64) {
        let bucket = bucket(length);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(length);
        self.longest = self.longest.max(length);
    }

    /// The mean length.
    pub(super) fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }

    /// The quantile of a share of all lengths, rounded down to the start of its bucket.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(0, first_length)
    }

    /// The bars of a histogram as (first length, last length, count), from the first one that is not empty to the
    /// last. There is one bar per length if all are short, otherwise two per doubling: lengths of texts span orders
    /// of magnitude.
    pub(super) fn bars(&self) -> Vec<(u64, u64, u64)> {
        let starts: Vec<u64> = if self.longest < 16 {
            (0..=self.longest).collect()
        } else {
            [0, 1]
                .into_iter()
                .chain((1..63).flat_map(|octave| [2 << (octave - 1), 3 << (octave - 1)]))
                .collect()
        };
        let mut bars = Vec::new();
        for (index, &start) in starts.iter().enumerate().take_while(|(_, start)| **start <= self.longest) {
            let end = starts.get(index + 1).map_or(self.longest, |next| next - 1);
            let inside = self
                .buckets
                .iter()
                .enumerate()
                .skip(bucket(start))
                .take_while(|(at, _)| first_length(*at) <= end);
            bars.push((start, end, inside.map(|(_, count)| count).sum()));
        }
        let empty = bars.iter().take_while(|(_, _, count)| *count == 0).count();
        bars.split_off(empty)
    }
}

/// The bucket of a length.
fn bucket(length: u64) -> usize {
    match length.checked_ilog2() {
        Some(octave) if octave >= 3 => (octave as usize - 2) * 8 + (length >> (octave - 3) & 7) as usize,
        _ => length as usize,
    }
}

/// The first length of a bucket.
fn first_length(bucket: usize) -> u64 {
    if bucket < 8 { bucket as u64 } else { (8 + bucket as u64 % 8) << (bucket / 8 - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_in_the_bucket_that_starts_at_or_below_it() {
        for length in (0..5000).chain([u64::MAX / 2, u64::MAX]) {
            let bucket = bucket(length);
            let width = if length < 16 { 1 } else { length / 8 + 1 };
            assert!(first_length(bucket) <= length && length - first_length(bucket) < width, "{length}");
        }
        for index in 0..400 {
            assert_eq!(bucket(first_length(index)), index);
        }
    }

    #[test]
    fn a_histogram_counts_everything_once() {
        let mut lengths = Lengths::default();
        for length in 3..1000 {
            lengths.add(length);
        }
        let bars = lengths.bars();
        assert_eq!(bars[0], (3, 3, 1));
        assert!(bars.contains(&(96, 127, 32)) && bars.contains(&(128, 191, 64)));
        assert_eq!(bars.iter().map(|(_, _, count)| count).sum::<u64>(), 997);
        // The true median is 501; its bucket starts at 480.
        assert_eq!((lengths.quantile(0.5), lengths.mean()), (480, 501.0));
        let mut few = Lengths::default();
        for length in [2, 2, 6] {
            few.add(length);
        }
        assert_eq!(few.bars(), [(2, 2, 2), (3, 3, 0), (4, 4, 0), (5, 5, 0), (6, 6, 1)]);
    }
}
