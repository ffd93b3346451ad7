//! Owns the demo data's numbers and ids.
//!
//! Invariant: a value depends on its stream and index alone, so that a record keeps its id and
//! its words whatever is generated before it, on every machine and in every version.

/// What a sequence of numbers is for; streams never share numbers.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Company = 1,
    Customer,
    Article,
    Account,
    Contact,
    Lead,
    Opportunity,
    Ticket,
    Comment,
    Arrival,
    Status,
    Words,
}

/// SplitMix64: small, fast and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(stream: Stream, index: usize) -> Self {
        let mut seed = Self((stream as u64) << 40 ^ index as u64);
        Self(seed.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; `bound` is at least 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    /// True in `percent` of 100 cases.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// An item, as often as its weight says.
    pub(super) fn pick_weighted<T: Copy>(&mut self, items: &[(T, usize)]) -> T {
        let total = items.iter().map(|(_, weight)| weight).sum();
        let mut rest = self.below(total);
        for (item, weight) in items {
            if rest < *weight {
                return *item;
            }
            rest -= weight;
        }
        items[0].0
    }
}

/// The id of the `index`th record of a stream: a well-formed ULID. Its time part counts from a
/// fixed day, not from the seeding, so that a record's id is the same in every installation.
pub(super) fn id(stream: Stream, index: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    const FIRST_MS: u128 = 1_735_689_600_000;
    let mut random = Random::new(stream, index);
    let time = FIRST_MS + index as u128 * 60_000;
    let noise = u128::from(random.next()) << 16 | u128::from(random.next() >> 48);
    let value = time << 80 | noise;
    (0..26)
        .rev()
        .map(|place| char::from(ALPHABET[(value >> (place * 5)) as usize & 31]))
        .collect()
}
