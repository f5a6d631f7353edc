//! Rows and columns of any view.

use std::cmp::Ordering;

use super::column::{Column, ColumnKind};
use super::value::{Sum, Value};

/// The rows of a view, each with a value for each of its columns.
#[derive(Debug)]
pub struct Table {
    /// The columns, in the order of the values of a row.
    pub columns: &'static [Column],
    /// The values of each row.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// Returns the values of a row in the order of `chosen`.
    pub fn values<'a>(
        &self,
        row: &'a [Value],
        chosen: &[Column],
    ) -> impl Iterator<Item = &'a Value> {
        let value = |column: &Column| {
            let index = self.columns.iter().position(|known| known.name == column.name);
            index.and_then(|index| row.get(index)).unwrap_or(&Value::Unknown)
        };
        chosen.iter().map(value).collect::<Vec<_>>().into_iter()
    }

    /// Returns the values of a column.
    pub fn values_of(&self, column: &Column) -> impl Iterator<Item = &Value> {
        let index = self.columns.iter().position(|known| known.name == column.name);
        self.rows.iter().filter_map(move |row| row.get(index?))
    }

    /// Sorts the rows by a column: sizes and counts largest first, all else ascending, unknown values last in
    /// either direction. The sort is stable.
    pub fn sort(&mut self, by: &Column, reverse: bool) {
        let Some(index) = self.columns.iter().position(|column| column.name == by.name) else {
            return;
        };
        let descending = matches!(by.kind, ColumnKind::Count | ColumnKind::Size) != reverse;
        self.rows.sort_by(|one, other| {
            let (Some(one), Some(other)) = (one.get(index), other.get(index)) else {
                return Ordering::Equal;
            };
            let order = one.compare(other);
            let order = if descending { order.reverse() } else { order };
            one.is_unknown().cmp(&other.is_unknown()).then(order)
        });
    }

    /// Sorts the rows where no column is chosen: by PSS, largest first; a row whose PSS lacks a process by its RSS,
    /// which is never smaller, so that a large process is not below a small one because it was not read. The
    /// areas of the machine keep their order. The sort is stable.
    pub fn sort_by_default(&mut self, reverse: bool) {
        let index = |name| self.columns.iter().position(|column| column.name == name);
        let (Some(pss), Some(rss)) = (index("pss_bytes"), index("rss_bytes")) else { return };
        let key = |row: &Vec<Value>| {
            let pss = row.get(pss).filter(|pss| !pss.lacks_some());
            pss.or_else(|| row.get(rss)).and_then(|value| value.as_sum().known)
        };
        self.rows.sort_by(|one, other| {
            let (one, other) = (key(one), key(other));
            let order = if reverse { one.cmp(&other) } else { other.cmp(&one) };
            one.is_none().cmp(&other.is_none()).then(order)
        });
    }

    /// Returns the number of processes whose value in a column is not known.
    #[must_use]
    pub fn unknown(&self, column: &Column) -> u64 {
        self.values_of(column).fold(0, |sum, value| sum.saturating_add(value.as_sum().unknown))
    }

    /// Returns the sum over all rows of a column; `None` where it has no meaning.
    #[must_use]
    pub fn total(&self, column: &Column) -> Option<Sum> {
        let nothing = self.rows.is_empty().then_some(0);
        let mut total = Sum { known: nothing, unknown: 0 };
        self.values_of(column).for_each(|value| total.add(value.as_sum()));
        column.adds_up.then_some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::value::Sum;

    #[test]
    fn the_default_order_is_by_what_is_known() {
        const COLUMNS: &[Column] = &[
            Column::new("pss_bytes", "pss", ColumnKind::Size),
            Column::new("rss_bytes", "rss", ColumnKind::Size),
        ];
        let lacking = Value::Sum(Sum { known: Some(9), unknown: 1 });
        let rows = [(Value::Size(1), 8), (Value::Unknown, 2), (Value::Size(4), 4), (lacking, 3)];
        let rows = rows.map(|(pss, rss)| vec![pss, Value::Size(rss)]).to_vec();
        let mut table = Table { columns: COLUMNS, rows };
        let rss = |table: &Table| -> Vec<_> {
            table.rows.iter().map(|row| row[1].as_sum().known.unwrap()).collect()
        };
        table.sort_by_default(false);
        assert_eq!(rss(&table), [4, 3, 2, 8]);
        table.sort_by_default(true);
        assert_eq!(rss(&table), [8, 2, 3, 4]);
    }

    #[test]
    fn unknown_values_come_last_in_any_order() {
        let rows = [
            Value::Size(1),
            Value::Unknown,
            Value::Size(3),
            Value::Sum(Sum { known: Some(2), unknown: 1 }),
        ];
        const COLUMNS: &[Column] = &[Column::new("pss_bytes", "pss", ColumnKind::Size)];
        let mut table = Table {
            columns: COLUMNS,
            rows: rows.iter().map(|value| vec![value.clone()]).collect(),
        };
        let by = &COLUMNS[0];
        let order = |table: &Table| -> Vec<_> {
            table.rows.iter().map(|row| row[0].as_sum().known).collect()
        };
        table.sort(by, false);
        assert_eq!(order(&table), [Some(3), Some(2), Some(1), None]);
        table.sort(by, true);
        assert_eq!(order(&table), [Some(1), Some(2), Some(3), None]);
    }
}
