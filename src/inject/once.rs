//! A list in which each thing stands once, in the order they came.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Deref;

/// So many are looked through one by one; a request rarely holds more.
const FEW: usize = 16;

/// A list in which each thing stands once. Adding one to many takes no longer than adding it to few.
#[derive(Clone, Debug)]
pub struct Once<T> {
    list: Vec<T>,
    /// The same, once there are many.
    known: HashSet<T>,
}

impl<T: Hash + Eq + Clone> Once<T> {
    /// Adds `one` at the end, unless it stands there.
    pub fn add(&mut self, one: T) {
        if self.list.len() < FEW {
            if !self.list.contains(&one) {
                self.list.push(one);
            }
            return;
        }
        if self.known.is_empty() {
            self.known.extend(self.list.iter().cloned());
        }
        if self.known.insert(one.clone()) {
            self.list.push(one);
        }
    }

    /// Takes the last one.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.list.pop()?;
        self.known.remove(&last);
        Some(last)
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { list: Vec::new(), known: HashSet::new() }
    }
}

impl<T> Deref for Once<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.list
    }
}

impl<T> IntoIterator for Once<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<T: PartialEq> PartialEq for Once<T> {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl<T: Eq> Eq for Once<T> {}

impl<T: Hash + Eq + Clone> Extend<T> for Once<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, more: I) {
        more.into_iter().for_each(|one| self.add(one));
    }
}

impl<T: Hash + Eq + Clone> FromIterator<T> for Once<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut once = Self::default();
        once.extend(all);
        once
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_stands_once_in_the_order_they_came(all in proptest::collection::vec(0u8..64, 0..200)) {
            let mut expected: Vec<u8> = Vec::new();
            for one in &all {
                if !expected.contains(one) {
                    expected.push(*one);
                }
            }
            let once: Once<u8> = all.into_iter().collect();
            prop_assert_eq!(&*once, expected.as_slice());
        }
    }
}
