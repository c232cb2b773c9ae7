//! The object value of the language: keys keep their case and their order,
//! and are found without regard to case.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use indexmap::{Equivalent, IndexMap};

use crate::text::{eq_ignore_case, hash_ignore_case};
use crate::value::Value;

/// An insertion-ordered map with case-insensitive keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    entries: IndexMap<Key, Value>,
}

#[derive(Debug, Clone)]
struct Key(Arc<str>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        eq_ignore_case(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_ignore_case(&self.0, state);
    }
}

/// A borrowed key, so that a lookup allocates nothing.
struct Lookup<'a>(&'a str);

impl Hash for Lookup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_ignore_case(self.0, state);
    }
}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        eq_ignore_case(self.0, &key.0)
    }
}

impl Object {
    /// An empty object.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty object with room for `capacity` keys.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { entries: IndexMap::with_capacity(capacity) }
    }

    /// Sets a key. A key that is already there, in whatever case, keeps its
    /// place and its spelling; its former value is returned.
    pub fn insert(&mut self, key: impl Into<Arc<str>>, value: impl Into<Value>) -> Option<Value> {
        self.entries.insert(Key(key.into()), value.into())
    }

    /// The value of a key, in whatever case.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(&Lookup(key))
    }

    /// Whether the key is present, in whatever case.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.entries.contains_key(&Lookup(key))
    }

    /// Takes a key out; the order of the others stays.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.entries.shift_remove(&Lookup(key))
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&*key.0, value))
    }

    /// Keys in order, as they were first written.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.keys().map(|key| &*key.0)
    }

    /// Values in order of their keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.entries.values()
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: Into<Arc<str>>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut object = Self::new();
        object.extend(pairs);
        object
    }
}

impl<K: Into<Arc<str>>, V: Into<Value>> Extend<(K, V)> for Object {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_case_and_order_and_are_found_in_any_case() {
        let mut object: Object = [("Beta", 1.0), ("alpha", 2.0), ("ÄÖ", 3.0)].into_iter().collect();
        assert_eq!(object.get("BETA"), Some(&Value::from(1.0)));
        assert_eq!(object.get("äö"), Some(&Value::from(3.0)));
        assert_eq!(object.get("gamma"), None);
        assert_eq!(object.insert("ALPHA", 4.0), Some(Value::from(2.0)));
        assert_eq!(object.keys().collect::<Vec<_>>(), ["Beta", "alpha", "ÄÖ"]);
        assert_eq!(object.remove("beta"), Some(Value::from(1.0)));
        assert_eq!(object.keys().collect::<Vec<_>>(), ["alpha", "ÄÖ"]);
        assert_eq!(object.len(), 2);
    }
}
