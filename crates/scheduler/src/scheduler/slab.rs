//! Two small containers: a slab (values at stable small indices) and counted
//! names. They know nothing of jobs.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// "No index": spares the four bytes of an `Option<u32>` in a job's entry.
pub(super) const NONE: u32 = u32::MAX;

/// Values at stable indices that are reused after removal.
#[derive(Debug)]
pub(super) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.items[at as usize] = Some(value);
            return at;
        }
        let at = u32::try_from(self.items.len()).unwrap_or(NONE);
        assert!(at != NONE, "a slab holds fewer than 2^32 values");
        self.items.push(Some(value));
        at
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.items.get_mut(at as usize)?.take();
        if value.is_some() {
            self.free.push(at);
        }
        value
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.items.get(at as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(at as usize)?.as_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.items).filter_map(|(at, item)| Some((at, item.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().filter_map(Option::as_mut)
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;
    #[expect(
        clippy::expect_used,
        reason = "an index that is kept outlives its value only through a bug here"
    )]
    fn index(&self, at: u32) -> &T {
        self.get(at).expect("a live index")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[expect(
        clippy::expect_used,
        reason = "an index that is kept outlives its value only through a bug here"
    )]
    fn index_mut(&mut self, at: u32) -> &mut T {
        self.get_mut(at).expect("a live index")
    }
}

/// Names as small numbers, counted, so that names nobody uses any more go.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_name: HashMap<Arc<str>, u32>,
    all: Slab<(Arc<str>, usize)>,
    unused: usize,
}

impl Names {
    /// The number of a name; counts one more use of it.
    pub(super) fn intern(&mut self, name: &Arc<str>) -> u32 {
        let at = match self.by_name.get(name) {
            Some(&at) => at,
            None => {
                // Unused names stay for a while: most come back at once.
                if self.unused > 64 + self.all.len() / 2 {
                    self.sweep();
                }
                let at = self.all.insert((name.clone(), 0));
                self.by_name.insert(name.clone(), at);
                self.unused += 1;
                at
            }
        };
        let uses = &mut self.all[at].1;
        if *uses == 0 {
            self.unused -= 1;
        }
        *uses += 1;
        at
    }

    pub(super) fn release(&mut self, at: u32) {
        let uses = &mut self.all[at].1;
        *uses -= 1;
        if *uses == 0 {
            self.unused += 1;
        }
    }

    pub(super) fn name(&self, at: u32) -> &Arc<str> {
        &self.all[at].0
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn sweep(&mut self) {
        let gone: Vec<u32> = self.all.iter().filter(|(_, v)| v.1 == 0).map(|(at, _)| at).collect();
        for at in gone {
            if let Some((name, _)) = self.all.remove(at) {
                self.by_name.remove(&name);
            }
        }
        self.unused = 0;
    }
}
