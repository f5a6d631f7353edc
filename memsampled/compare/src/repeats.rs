//! The numbers of every repeat, for who shows them beside what a comparison says.

use std::collections::{BTreeMap, BTreeSet};

use crate::comparison::Compared;
use crate::quantity::Quantity;
use crate::sides::{Key, Number, Numbers, Run, numbers};

/// The numbers of one side of a comparison, for who shows them.
#[derive(Clone, Debug)]
pub struct Repeats(BTreeMap<Key, Numbers>);

impl Repeats {
    /// Returns what was compared of the runs of one side.
    #[must_use]
    pub fn of(runs: &[Run], compared: &[Compared]) -> Self {
        let quantities: BTreeSet<Quantity> = compared.iter().map(|it| it.quantity).collect();
        let quantities: Vec<Quantity> = quantities.into_iter().collect();
        Self(numbers(runs, &quantities, compared.iter().any(|it| it.role.is_some())))
    }

    /// Returns the numbers of what was compared, in the order in which they were measured.
    #[must_use]
    pub fn get(&self, compared: &Compared) -> &[Number] {
        let Compared { suite, test, role, quantity, .. } = compared;
        let key = Key {
            suite: suite.clone(),
            test: test.clone(),
            role: role.clone(),
            quantity: *quantity,
        };
        self.0.get(&key).map_or(&[], |of| &of.numbers)
    }
}
