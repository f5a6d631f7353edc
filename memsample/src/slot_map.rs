//! Values by slot.

use crate::slot::Slot;

/// The kernel allows four million processes; a larger slot is that of a damaged journal.
const MAX_SLOTS: u32 = 1 << 22;

/// Values by slot, found in two steps without hashing.
///
/// Four bytes for each slot up to the highest, so that a damaged journal which names a high one costs
/// 16 MiB at most, and a value only where there is one.
pub(crate) struct SlotMap<T> {
    /// For each slot, the place of its value and one more; 0 where there is none.
    places: Vec<u32>,
    values: Vec<Option<T>>,
    /// Places without a value.
    free: Vec<u32>,
}

impl<T> Default for SlotMap<T> {
    fn default() -> Self {
        Self { places: Vec::new(), values: Vec::new(), free: Vec::new() }
    }
}

impl<T> SlotMap<T> {
    pub(crate) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let place = self.places.get(slot.0 as usize)?.checked_sub(1)?;
        self.values.get(place as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let place = self.places.get(slot.0 as usize)?.checked_sub(1)?;
        self.values.get_mut(place as usize)?.as_mut()
    }

    /// Sets the value of a slot. `None` where no sampler gives such a slot.
    pub(crate) fn insert(&mut self, slot: Slot, value: T) -> Option<&mut T> {
        if slot.0 >= MAX_SLOTS {
            return None;
        }
        let index = slot.0 as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        let place = self.places.get_mut(index)?;
        if *place == 0 {
            *place = 1 + self.free.pop().unwrap_or_else(|| {
                self.values.push(None);
                self.values.len() as u32 - 1
            });
        }
        Some(self.values.get_mut(*place as usize - 1)?.insert(value))
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = std::mem::take(self.places.get_mut(slot.0 as usize)?).checked_sub(1)?;
        self.free.push(place);
        self.values.get_mut(place as usize)?.take()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().flatten()
    }

    /// Returns the slots that have a value, ascending, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.places.iter().enumerate().filter_map(|(slot, place)| {
            let value = self.values.get(place.checked_sub(1)? as usize)?.as_ref()?;
            Some((Slot(slot as u32), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(changes: Vec<(u8, Option<u16>)>) {
            let mut map = SlotMap::default();
            let mut expected = BTreeMap::new();
            for (slot, value) in changes {
                match value {
                    Some(value) => {
                        map.insert(Slot(slot.into()), value);
                        expected.insert(slot, value);
                    }
                    None => prop_assert_eq!(map.remove(Slot(slot.into())), expected.remove(&slot)),
                }
                prop_assert_eq!(map.len(), expected.len());
                prop_assert_eq!(map.get_mut(Slot(slot.into())).copied(), expected.get(&slot).copied());
            }
            let values: Vec<_> = map.iter().map(|(slot, &value)| (slot.0 as u8, value)).collect();
            prop_assert_eq!(values, expected.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(map.values().count(), map.len());
        }
    }

    #[test]
    fn an_impossible_slot_takes_no_memory() {
        let mut map = SlotMap::default();
        assert!(map.insert(Slot(u32::MAX), ()).is_none());
        assert!(map.get_mut(Slot(u32::MAX)).is_none() && map.remove(Slot(5)).is_none());
    }
}
