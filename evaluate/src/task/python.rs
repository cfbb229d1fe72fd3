//! What Python decides differently from Rust: white space, capitals, and the numbers of its `random` module.

/// Whether Python's `str.isspace` holds: Unicode's white space and four separators of ASCII.
pub(crate) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// Python's `str.strip`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.rstrip`.
pub(crate) fn strip_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// Python's `str.capitalize`: the first character in upper case, all others in lower case.
pub(crate) fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let rest = letters.as_str().to_lowercase();
    // A letter that becomes two, such as ß, becomes a capital and a small one.
    let mut upper = first.to_uppercase();
    let head: String = upper.next().into_iter().chain(upper.flat_map(char::to_lowercase)).collect();
    head + &rest
}

/// The size of the state of the Mersenne Twister, in words.
const WORDS: usize = 624;
/// The offset of the word that a new one is mixed with.
const OFFSET: usize = 397;

/// Python's `random.Random(seed)`: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded by an array, and
/// the ways in which CPython's `random.py` draws from it.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: [u32; WORDS],
    next: usize,
}

impl Random {
    /// The generator of a seed that fits in 32 bits.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0_u32; WORDS];
        state[0] = 19_650_218;
        for index in 1..WORDS {
            state[index] = mixed(state[index - 1]).wrapping_mul(1_812_433_253).wrapping_add(index as u32);
        }
        let mut index = 1;
        for _ in 0..WORDS {
            // The array has one element, so its index is always 0.
            state[index] =
                (state[index] ^ mixed(state[index - 1]).wrapping_mul(1_664_525)).wrapping_add(seed);
            index = advanced(&mut state, index);
        }
        for _ in 0..WORDS - 1 {
            state[index] = (state[index] ^ mixed(state[index - 1]).wrapping_mul(1_566_083_941))
                .wrapping_sub(index as u32);
            index = advanced(&mut state, index);
        }
        state[0] = 1 << 31;
        Self { state, next: WORDS }
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            for index in 0..WORDS {
                let pair = (self.state[index] & 1 << 31) | (self.state[(index + 1) % WORDS] & !(1 << 31));
                let odd = if pair & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[index] = self.state[(index + OFFSET) % WORDS] ^ (pair >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// `_randbelow_with_getrandbits`, for `limit` in 1..2^32.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let bits = usize::BITS - limit.leading_zeros();
        loop {
            let draw = (self.word() >> (32 - bits)) as usize;
            if draw < limit {
                return draw;
            }
        }
    }

    /// `sample(range(population), count)`.
    ///
    /// # Panics
    /// If there are fewer than `count`.
    pub(crate) fn sample(&mut self, population: usize, count: usize) -> Vec<usize> {
        assert!(count <= population, "a sample of {count} from {population}");
        let mut set_size = 21;
        if count > 5 {
            set_size += 4_usize.pow(((count * 3) as f64).log(4.0).ceil() as u32);
        }
        let mut chosen: Vec<usize> = Vec::with_capacity(count);
        if population <= set_size {
            let mut pool: Vec<usize> = (0..population).collect();
            for index in 0..count {
                let draw = self.below(population - index);
                chosen.push(pool[draw]);
                pool[draw] = pool[population - index - 1];
            }
            return chosen;
        }
        while chosen.len() < count {
            let draw = self.below(population);
            if !chosen.contains(&draw) {
                chosen.push(draw);
            }
        }
        chosen
    }

    /// `shuffle`.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            let other = self.below(index + 1);
            list.swap(index, other);
        }
    }
}

fn mixed(word: u32) -> u32 {
    word ^ (word >> 30)
}

/// The next index of the seeding, which goes around.
fn advanced(state: &mut [u32; WORDS], index: usize) -> usize {
    if index + 1 < WORDS {
        return index + 1;
    }
    state[0] = state[WORDS - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_pythons() {
        // python3 -c "import random; r = random.Random(1234); print([r.getrandbits(13) for _ in range(10)])"
        let mut random = Random::new(1234);
        let bits: Vec<u32> = (0..10).map(|_| random.word() >> 19).collect();
        assert_eq!(bits, [7917, 6374, 3610, 957, 61, 742, 7462, 7721, 7694, 6610]);
        // r = random.Random(1234); [r.sample(range(7473), 5) for _ in range(2)]
        let mut random = Random::new(1234);
        assert_eq!(random.sample(7473, 5), [6374, 3610, 957, 61, 742]);
        assert_eq!(random.sample(7473, 5), [7462, 6610, 4769, 286, 5501]);
        // order = list(range(500)); random.Random(42).shuffle(order)
        let mut order: Vec<usize> = (0..500).collect();
        Random::new(42).shuffle(&mut order);
        assert_eq!(order[..5], [164, 383, 45, 156, 53]);
    }

    #[test]
    fn small_populations_are_drawn_from_a_list() {
        // r = random.Random(7); r.sample(range(10), 4), r.sample(range(100), 8)
        let mut random = Random::new(7);
        assert_eq!(random.sample(10, 4), [5, 2, 6, 9]);
        assert_eq!(random.sample(100, 8), [6, 9, 68, 12, 46, 74, 7, 64]);
    }

    #[test]
    fn capitals_and_white_space_are_pythons() {
        assert_eq!(capitalize("hE IS"), "He is");
        assert_eq!(capitalize("ßA"), "Ssa");
        assert_eq!(strip("\u{1c} a \u{a0}\n"), "a");
    }
}
