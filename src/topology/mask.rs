//! A few SETs out of a thousand: those that an order was tried on.

use crate::order::SetId;

/// Some SETs. By id and not by place, since places shift when the map changes. Empty, as it is for all but a few orders, it
/// costs a comparison; up to six SETs stand in it without memory of its own.
#[derive(Clone, Default, Debug)]
pub(crate) struct SetMask {
    count: u16,
    first: [u16; INLINE],
    /// All of them, as bits, once there are more.
    bits: Option<Box<[u64; WORDS]>>,
}

const INLINE: usize = 6;
const WORDS: usize = 1_000usize.div_ceil(64);

impl SetMask {
    pub(crate) fn contains(&self, set: SetId) -> bool {
        match &self.bits {
            Some(bits) => bits[usize::from(set.get() / 64)] & bit(set.get()) != 0,
            None => self.first[..usize::from(self.count)].contains(&set.get()),
        }
    }

    pub(crate) fn insert(&mut self, set: SetId) {
        if self.contains(set) {
            return;
        }
        let count = usize::from(self.count);
        if let (Some(free), None) = (self.first.get_mut(count), &self.bits) {
            *free = set.get();
        } else {
            let bits = self.bits.get_or_insert_with(|| {
                let mut bits = Box::new([0; WORDS]);
                self.first.iter().for_each(|id| bits[usize::from(id / 64)] |= bit(*id));
                bits
            });
            bits[usize::from(set.get() / 64)] |= bit(set.get());
        }
        self.count += 1;
    }
}

impl FromIterator<SetId> for SetMask {
    fn from_iter<I: IntoIterator<Item = SetId>>(sets: I) -> SetMask {
        let mut mask = SetMask::default();
        sets.into_iter().for_each(|set| mask.insert(set));
        mask
    }
}

fn bit(id: u16) -> u64 {
    1 << (id % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_holds_what_a_plain_set_holds_however_many_there_are() {
        let mut random = fastrand::Rng::with_seed(7);
        for most in [0, 1, 5, 6, 7, 30, 3_000] {
            let (mut mask, mut plain) = (SetMask::default(), BTreeSet::new());
            for _ in 0..most {
                let id = random.u16(..1_000);
                mask.insert(SetId::new(id).unwrap());
                plain.insert(id);
                assert_eq!(usize::from(mask.count), plain.len());
            }
            for id in 0..1_000 {
                assert_eq!(mask.contains(SetId::new(id).unwrap()), plain.contains(&id), "{id} of {plain:?}");
            }
        }
    }
}
