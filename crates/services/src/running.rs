//! SHA-256 of uploads while they arrive, so that the end of an upload need not read everything again.
//! A guess: that the content is the blocks in the order in which they began. Whoever asks names the
//! objects of the content; if they are not exactly those that were hashed, there is no answer, and
//! the bytes are read. It never holds more than a few blocks of an upload.

use crate::grant::Kind;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Uploads that are hashed at the same time; more are read in the end.
const UPLOADS: usize = 32;
/// Bytes of one upload that wait for a block before them; beyond it the guess is given up.
const WAITING: usize = 64 << 20;
/// Blocks larger than this are not kept in memory for hashing.
pub(crate) const LARGEST: u64 = 16 << 20;

type Chains = HashMap<(Kind, u64), Arc<Mutex<Chain>>>;

/// Uploads under way.
#[derive(Default)]
pub(crate) struct Running(Mutex<Chains>);

struct Chain {
    /// Blocks that began.
    begun: u64,
    /// Those that were hashed.
    hashed: Vec<String>,
    context: Context,
    /// Complete, but not their turn yet.
    waiting: BTreeMap<u64, (String, Vec<Bytes>)>,
    /// The order cannot be what was guessed, or it takes too much memory.
    given_up: bool,
}

/// The turn of one block. If it is dropped before it is done, the guess is given up: the block did
/// not come, replaced another, or is too large.
pub(crate) struct Turn {
    chain: Arc<Mutex<Chain>>,
    number: u64,
    came: bool,
}

impl Running {
    /// A block begins.
    pub(crate) fn begin(&self, kind: Kind, blob: u64) -> Option<Turn> {
        let mut chains = self.0.lock();
        if chains.len() >= UPLOADS && !chains.contains_key(&(kind, blob)) {
            // Uploads that were given up or never finished make room.
            chains.retain(|_, chain| Arc::strong_count(chain) > 1);
            if chains.len() >= UPLOADS {
                return None;
            }
        }
        let chain = chains.entry((kind, blob)).or_insert_with(|| {
            let (hashed, waiting, context) = (Vec::new(), BTreeMap::new(), Context::new(&SHA256));
            Arc::new(Mutex::new(Chain { begun: 0, hashed, context, waiting, given_up: false }))
        });
        let chain = Arc::clone(chain);
        let number = {
            let mut chain = chain.lock();
            chain.begun += 1;
            chain.begun - 1
        };
        Some(Turn { chain, number, came: false })
    }

    /// The digest, if exactly these objects were hashed in this order.
    pub(crate) fn digest<'a>(
        &self,
        kind: Kind,
        blob: u64,
        objects: impl Iterator<Item = &'a str>,
    ) -> Option<[u8; 32]> {
        let chain = self.0.lock().get(&(kind, blob)).cloned()?;
        let chain = chain.lock();
        if chain.given_up || !objects.eq(chain.hashed.iter().map(String::as_str)) {
            return None;
        }
        let mut out = [0; 32];
        out.copy_from_slice(chain.context.clone().finish().as_ref());
        Some(out)
    }

    /// The upload is over.
    pub(crate) fn forget(&self, kind: Kind, blob: u64) {
        self.0.lock().remove(&(kind, blob));
    }
}

impl Turn {
    /// The block is stored as this object. Blocks for as long as hashing takes.
    pub(crate) fn done(mut self, object: String, pieces: Vec<Bytes>) {
        self.came = true;
        let mut chain = self.chain.lock();
        let chain = &mut *chain;
        if chain.given_up {
            return;
        }
        chain.waiting.insert(self.number, (object, pieces));
        while let Some((object, pieces)) = chain.waiting.remove(&(chain.hashed.len() as u64)) {
            for piece in pieces {
                chain.context.update(&piece);
            }
            chain.hashed.push(object);
        }
        let held: usize = chain.waiting.values().flat_map(|(_, p)| p).map(Bytes::len).sum();
        if held > WAITING {
            chain.give_up();
        }
    }
}

impl Drop for Turn {
    /// A block that did not come leaves a gap: the guess is wrong.
    fn drop(&mut self) {
        if !self.came {
            self.chain.lock().give_up();
        }
    }
}

impl Chain {
    fn give_up(&mut self) {
        self.given_up = true;
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Bytes> {
        vec![Bytes::copy_from_slice(text.as_bytes())]
    }

    #[test]
    fn blocks_are_hashed_in_the_order_in_which_they_began() {
        let running = Running::default();
        let [a, b, c] = std::array::from_fn(|_| running.begin(Kind::Artifact, 1).unwrap());
        c.done("c".to_owned(), pieces("o"));
        a.done("a".to_owned(), pieces("hel"));
        let digest = |objects: &[&str]| running.digest(Kind::Artifact, 1, objects.iter().copied());
        assert_eq!(digest(&["a", "c"]), None, "b is missing");
        b.done("b".to_owned(), pieces("l"));
        let hello = digest(&["a", "b", "c"]).unwrap();
        assert_eq!(hello[..4], [0x2c, 0xf2, 0x4d, 0xba]);
        assert_eq!(digest(&["b", "a", "c"]), None);
        assert_eq!(digest(&["a", "b"]), None);
        drop(running.begin(Kind::Artifact, 1).unwrap());
        assert_eq!(digest(&["a", "b", "c"]), None);
        running.forget(Kind::Artifact, 1);
        assert!(running.0.lock().is_empty());
    }
}
