use super::event::{BoundedBytes, BudgetResult, BudgetVerdict, TestMemory};
use crate::suite::{Action, Budget, Quantity};

/// Says of each budget of an attempt whether it was kept.
///
/// `left_bytes` is what the attempt left behind, as far as that is known.
pub(super) fn judge(
    budgets: &[Budget],
    memory: Option<&TestMemory>,
    left_bytes: Option<u64>,
) -> Vec<BudgetResult> {
    let judge = |budget: &Budget| {
        let measured = measured(budget, memory, left_bytes);
        let limit = budget.limit_bytes;
        let verdict = match measured {
            Some(bytes) if bytes.lower > limit => BudgetVerdict::Exceeded,
            Some(BoundedBytes { upper: Some(upper), .. }) if upper <= limit => BudgetVerdict::Kept,
            Some(_) | None => BudgetVerdict::CannotTell,
        };
        BudgetResult { budget: budget.clone(), measured, verdict }
    };
    budgets.iter().map(judge).collect()
}

fn measured(
    budget: &Budget,
    memory: Option<&TestMemory>,
    left_bytes: Option<u64>,
) -> Option<BoundedBytes> {
    match (budget.quantity, &budget.role) {
        (Quantity::LeftOver, None) => {
            left_bytes.map(|bytes| BoundedBytes { lower: bytes, upper: Some(bytes) })
        }
        (Quantity::RssPeak, Some(role)) => {
            memory?.roles.iter().find(|found| found.role == *role).map(|found| found.rss_peak)
        }
        (Quantity::RssPeak, None) => Some(memory?.rss?.peak),
        (Quantity::PssPeak, None) => Some(memory?.pss?.peak),
        (Quantity::AnonPeak, None) => Some(memory?.anon?.peak),
        (Quantity::Growth, None) => {
            // What shrinks does not grow.
            let growth = u64::try_from(memory?.growth_bytes_per_minute?).unwrap_or(0);
            Some(BoundedBytes { lower: growth, upper: Some(growth) })
        }
        // Of a role only resident sets are known.
        (_, Some(_)) => None,
    }
}

/// Says in a sentence which budgets that fail were exceeded; `None` where none was.
pub(super) fn failure(results: &[BudgetResult]) -> Option<String> {
    let failed = results.iter().filter(|result| {
        result.budget.action == Action::Fail && result.verdict == BudgetVerdict::Exceeded
    });
    let sentence = |result: &BudgetResult| {
        let Budget { role, quantity, limit_bytes, .. } = &result.budget;
        let quantity = match quantity {
            Quantity::RssPeak => "its peak of RSS",
            Quantity::PssPeak => "its peak of PSS",
            Quantity::AnonPeak => "its peak of anonymous memory",
            Quantity::Growth => "its growth a minute",
            Quantity::LeftOver => "what it left",
        };
        let of = role.as_ref().map_or(String::new(), |role| format!(" in the role `{role}`"));
        let lower = result.measured.map_or(0, |bytes| bytes.lower);
        format!("{quantity}{of} was at least {lower} bytes, and its budget is {limit_bytes} bytes")
    };
    let sentences: Vec<String> = failed.map(sentence).collect();
    if sentences.is_empty() { None } else { Some(sentences.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::event::{RoleMemory, Sum};

    fn memory(lower: u64, upper: Option<u64>) -> TestMemory {
        let peak = BoundedBytes { lower, upper };
        TestMemory {
            anon: Some(Sum { peak, at: jiff::Timestamp::UNIX_EPOCH }),
            growth_bytes_per_minute: Some(-5),
            roles: vec![RoleMemory { role: "cc".to_owned(), rss_peak: peak, processes: 1 }],
            ..TestMemory::default()
        }
    }

    #[track_caller]
    fn check(
        role: Option<&str>,
        quantity: Quantity,
        memory: Option<&TestMemory>,
        left_bytes: Option<u64>,
        verdict: BudgetVerdict,
    ) {
        let role = role.map(str::to_owned);
        let budget = Budget { role, quantity, limit_bytes: 100, action: Action::Fail };
        let results = judge(&[budget], memory, left_bytes);
        let verdicts: Vec<_> = results.iter().map(|result| result.verdict).collect();
        assert_eq!(verdicts, [verdict]);
        assert_eq!(failure(&results).is_some(), verdict == BudgetVerdict::Exceeded);
    }

    #[test]
    fn a_budget_fails_only_when_the_lower_bound_is_above_it() {
        use BudgetVerdict::{CannotTell, Exceeded, Kept};
        use Quantity::{AnonPeak, Growth, LeftOver, PssPeak, RssPeak};
        let bounds = |lower, upper| memory(lower, upper);
        check(None, AnonPeak, Some(&bounds(101, None)), None, Exceeded);
        check(None, AnonPeak, Some(&bounds(101, Some(500))), None, Exceeded);
        check(None, AnonPeak, Some(&bounds(100, Some(101))), None, CannotTell);
        check(None, AnonPeak, Some(&bounds(0, None)), None, CannotTell);
        check(None, AnonPeak, Some(&bounds(50, Some(100))), None, Kept);
        check(None, AnonPeak, None, None, CannotTell);
        check(None, PssPeak, Some(&bounds(500, None)), None, CannotTell);
        check(Some("cc"), RssPeak, Some(&bounds(101, None)), None, Exceeded);
        check(Some("ld"), RssPeak, Some(&bounds(101, None)), None, CannotTell);
        check(Some("cc"), AnonPeak, Some(&bounds(101, None)), None, CannotTell);
        check(None, Growth, Some(&bounds(0, None)), None, Kept);
        check(None, LeftOver, None, Some(100), Kept);
        check(None, LeftOver, None, Some(101), Exceeded);
        check(None, LeftOver, None, None, CannotTell);
    }

    #[test]
    fn a_budget_that_warns_does_not_fail() {
        let budget = Budget {
            role: None,
            quantity: Quantity::AnonPeak,
            limit_bytes: 1,
            action: Action::Warn,
        };
        let results = judge(&[budget], Some(&memory(2, None)), None);
        assert_eq!(results[0].verdict, BudgetVerdict::Exceeded);
        assert_eq!(failure(&results), None);
    }
}
