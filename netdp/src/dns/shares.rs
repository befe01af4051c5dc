//! What askers have at a time of something that there is only so much of: one of them never has all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::Asker;

/// So much for all, and of it so much for each.
#[derive(Clone, Debug)]
pub struct Shares {
    all: usize,
    each: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// By those who have some.
    each: HashMap<Asker, usize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when this is dropped"]
pub struct Share {
    asker: Asker,
    taken: Arc<Mutex<Taken>>,
}

impl Shares {
    /// None of which is taken.
    pub fn new(all: usize, each: usize) -> Self {
        Self { all, each, taken: Arc::default() }
    }

    /// One more for this asker; `None` when that one has its part, or all have everything.
    pub fn take(&self, asker: Asker) -> Option<Share> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.each.get(&asker).copied().unwrap_or_default();
        if taken.all >= self.all || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.each.insert(asker, own + 1);
        Some(Share { asker, taken: Arc::clone(&self.taken) })
    }

    /// Whether nobody has any.
    pub fn are_free(&self) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all == 0
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.each.get_mut(&self.asker) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.each.remove(&self.asker)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_a_part_and_what_is_given_back_is_there_again() {
        let shares = Shares::new(5, 3);
        let [one, two] = [Asker::Endpoint(0), Asker::Stranger("fd00:2::3".parse().unwrap())];
        let mut of_one: Vec<Share> = (0..3).map(|_| shares.take(one).unwrap()).collect();
        assert!(shares.take(one).is_none(), "it has its part");
        let of_two: Vec<Share> = (0..2).map(|_| shares.take(two).unwrap()).collect();
        assert!(shares.take(two).is_none(), "all have everything");
        of_one.pop();
        let last = shares.take(two).unwrap();
        assert!(shares.take(one).is_none());
        drop((of_one, of_two, last));
        assert!(shares.are_free());
        assert!(shares.taken.lock().unwrap().each.is_empty(), "nothing is kept of those who are gone");
    }
}
