//! The last reading of `smaps_rollup` of a process, and what the next one will cost.

/// What a reading costs that was never made: measured on an EPYC, see `docs/cost.md`.
pub(super) const BASE_COST_NS: u64 = 60_000;
pub(super) const COST_NS_PER_MIB: u64 = 14_600;
/// For each KiB of page tables, which the kernel walks whatever is resident: 1.2 us for a table of 512 pages.
const COST_NS_PER_TABLE_KIB: u64 = 300;

/// What was read of a process last.
#[derive(Clone, Copy, Default)]
pub(super) struct LastRollup {
    /// 0: never.
    pub(super) boot_ns: u64,
    pub(super) rss_bytes: u64,
    pub(super) page_table_bytes: u64,
    pub(super) cost_ns: u64,
}

impl LastRollup {
    /// Returns about what a reading costs now: it grows with the pages that are resident, and with the page tables.
    ///
    /// The number of mappings, each of which costs something too, is not to be had without reading them all; after
    /// the first reading it is contained in what that cost.
    pub(super) fn predict_ns(self, rss_bytes: u64, page_table_bytes: u64) -> u64 {
        let by_size = |rss_bytes: u64, page_table_bytes: u64| {
            BASE_COST_NS
                .saturating_add((rss_bytes >> 10).saturating_mul(COST_NS_PER_MIB) / 1024)
                .saturating_add((page_table_bytes >> 10).saturating_mul(COST_NS_PER_TABLE_KIB))
        };
        match self.cost_ns {
            0 => by_size(rss_bytes, page_table_bytes),
            cost_ns => {
                let now = by_size(rss_bytes, page_table_bytes) as f64;
                (cost_ns as f64 * now / by_size(self.rss_bytes, self.page_table_bytes) as f64)
                    as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_predicted_from_the_size_and_from_what_it_was() {
        let never = LastRollup::default();
        assert_eq!(never.predict_ns(0, 0), BASE_COST_NS);
        assert_eq!(never.predict_ns(1 << 30, 0), BASE_COST_NS + 1024 * COST_NS_PER_MIB);
        // A page in each of ten thousand tables: measured at 12 ms.
        let sparse = never.predict_ns(40 << 20, 40 << 20);
        assert!((11_000_000..14_000_000).contains(&sparse), "{sparse}");
        // Huge pages make it cheap, and twice the size twice as dear.
        let cheap =
            LastRollup { boot_ns: 1, rss_bytes: 1 << 30, cost_ns: 1_000_000, page_table_bytes: 0 };
        assert_eq!(cheap.predict_ns(1 << 30, 0), 1_000_000);
        assert!((1_990_000..2_000_000).contains(&cheap.predict_ns(2 << 30, 0)));
    }
}
