//! Judges the budgets of an attempt.

use std::collections::HashSet;

use super::options::RunOptions;
use super::own_recording::Used;
use crate::results::{
    BoundedBytes, BudgetResult, BudgetVerdict, GroupUse, LeftOverProcess, Outcome, TestResult,
};
use crate::suite::{Action, Budget, Quantity, Test};

/// Why what a control group had is not known, in most cases.
const UNMEASURED: &str = "a budget of its control group cannot be judged, because none was there whose memory the \
                          kernel counts (see `memsample doctor`)";

/// What an attempt left behind.
#[derive(Clone, Copy, Debug, Default)]
struct LeftOverMemory<'a> {
    left_over_processes: &'a [LeftOverProcess],
    /// Bytes of shared memory, where that is the sandbox's own.
    shared_bytes: Option<u64>,
    /// Whether it was looked at: what is ended by the runner is not.
    is_known: bool,
    /// Whether these are all.
    is_whole: bool,
}

/// Says of each budget of an attempt whether it was kept. `used` is `None` where nothing was measured.
fn judge(
    budgets: &[Budget],
    used: Option<&Used>,
    group: Option<&GroupUse>,
    left: LeftOverMemory<'_>,
) -> Vec<BudgetResult> {
    let judge = |budget: &Budget| {
        let measured = match budget.quantity {
            Quantity::LeftOver => left_over(budget.role.as_deref(), used, left),
            Quantity::GroupPeak => group.and_then(GroupUse::group_peak),
            Quantity::ShmemPeak => group.and_then(GroupUse::shmem_peak),
            quantity => used.and_then(|used| measured(quantity, budget.role.as_deref(), used)),
        };
        let limit = budget.limit_bytes;
        let verdict = match measured {
            Some(bytes) if bytes.lower > limit => BudgetVerdict::Exceeded,
            Some(BoundedBytes { upper: Some(upper), .. }) if upper <= limit => BudgetVerdict::Kept,
            Some(_) | None => BudgetVerdict::CannotTell,
        };
        BudgetResult {
            budget: budget.clone(),
            measured_bytes: measured.map(|bytes| bytes.lower),
            measured_bytes_upper: measured.and_then(|bytes| bytes.upper),
            verdict,
        }
    };
    budgets.iter().map(judge).collect()
}

fn measured(quantity: Quantity, role: Option<&str>, used: &Used) -> Option<BoundedBytes> {
    let usage = used.usage.as_ref()?;
    let exactly = |growth: i64| {
        // What shrinks does not grow.
        let growth = u64::try_from(growth).unwrap_or(0);
        BoundedBytes { lower: growth, upper: Some(growth) }
    };
    let Some(role) = role else {
        let memory = &usage.memory;
        return match quantity {
            Quantity::RssPeak => memory.rss_peak(),
            Quantity::PssPeak => usage.pss,
            Quantity::AnonPeak => memory.anon_peak(),
            Quantity::Growth => memory.growth_bytes_per_minute.map(exactly),
            Quantity::LeftOver | Quantity::GroupPeak | Quantity::ShmemPeak => None,
        };
    };
    let rss = usage.roles.iter().find(|found| found.role == role)?.rss_peak();
    // Both are parts of the resident set, so that its bound is theirs too.
    let within = |lower: u64| BoundedBytes { lower, upper: rss.upper.map(|rss| rss.max(lower)) };
    match quantity {
        Quantity::RssPeak => Some(rss),
        // Of one that was never sampled all that is known is that bound.
        Quantity::AnonPeak => Some(within(used.roles.of(role).map_or(0, |used| used.anon_bytes))),
        Quantity::PssPeak => {
            Some(within(used.roles.of(role).and_then(|used| used.pss_bytes).unwrap_or(0)))
        }
        Quantity::Growth => used.roles.of(role)?.growth_bytes_per_minute.map(exactly),
        Quantity::LeftOver | Quantity::GroupPeak | Quantity::ShmemPeak => None,
    }
}

/// Sums up what was left, by all or by one role.
fn left_over(
    role: Option<&str>,
    used: Option<&Used>,
    left: LeftOverMemory<'_>,
) -> Option<BoundedBytes> {
    if !left.is_known {
        return None;
    }
    let mut bytes = BoundedBytes { lower: 0, upper: left.is_whole.then_some(0) };
    let (mut certain, mut possible) = (HashSet::new(), HashSet::new());
    for left in left.left_over_processes {
        let map = left.shares_memory_with.unwrap_or(left.pid);
        let found = used.and_then(|used| used.roles.role_of(left.pid));
        let (is_certain, is_possible) = match (role, found) {
            (None, _) => (true, true),
            (Some(role), Some(found)) => (role == found, role == found),
            (Some(_), None) => (false, true),
        };
        let (rss, held) = (left.rss_bytes, left.held_bytes);
        if is_certain && certain.insert(map) {
            bytes.lower = bytes.lower.saturating_add(rss.unwrap_or(0));
        }
        if is_possible && possible.insert(map) {
            bytes.upper = bytes.upper.and_then(|upper| upper.checked_add(rss?));
        }
        // What of it is mapped is in the resident set too, and others may have it open that are listed later.
        bytes.upper = bytes.upper.and_then(|upper| upper.checked_add(held?));
    }
    if role.is_none() {
        let shared = left.shared_bytes.unwrap_or(0);
        bytes.lower = bytes.lower.saturating_add(shared);
        bytes.upper = bytes.upper.and_then(|upper| upper.checked_add(shared));
    }
    Some(bytes)
}

/// Returns whether what a test left is allowed: by a budget that fails, of all that is left, and that was
/// kept for certain.
fn allows_left(results: &[BudgetResult]) -> bool {
    let is_of_left = |result: &&BudgetResult| {
        let Budget { role, quantity, action, .. } = &result.budget;
        (role, *quantity, *action) == (&None, Quantity::LeftOver, Action::Fail)
    };
    let mut verdicts = results.iter().filter(is_of_left).map(|result| result.verdict).peekable();
    verdicts.peek().is_some() && verdicts.all(|verdict| verdict == BudgetVerdict::Kept)
}

/// Says in a sentence which budgets that fail were exceeded; `None` where none was.
fn failure(results: &[BudgetResult]) -> Option<String> {
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
            Quantity::GroupPeak => "the peak of its control group",
            Quantity::ShmemPeak => "the peak of its shared memory",
        };
        let of = role.as_ref().map_or(String::new(), |role| format!(" in the role `{role}`"));
        let lower = result.measured_bytes.unwrap_or(0);
        format!("{quantity}{of} was at least {lower} bytes, and its budget is {limit_bytes} bytes")
    };
    let sentences: Vec<String> = failed.map(sentence).collect();
    if sentences.is_empty() { None } else { Some(sentences.join("; ")) }
}

/// Returns the budgets of a test: those of its suite and those of the policy.
pub(super) fn budgets_of(test: &Test, options: &RunOptions) -> Vec<Budget> {
    let of_policy = options.policy.budgets.iter().filter(|policy| policy.holds_for(&test.name));
    test.budgets.iter().chain(of_policy.map(|policy| &policy.budget)).cloned().collect()
}

/// Returns whether a recording must tell what budgets are compared with.
pub(super) fn need_recording(budgets: &[Budget]) -> bool {
    budgets.iter().any(|budget| !budget.quantity.is_of_group())
}

/// Holds what an attempt used to its budgets.
pub(super) fn hold_to_budgets(budgets: &[Budget], used: &Used, result: &mut TestResult) {
    if result.started.is_none() || budgets.is_empty() {
        return;
    }
    let left = LeftOverMemory {
        left_over_processes: &result.left_over_processes,
        shared_bytes: result.left_bytes,
        // What is ended by the runner is not looked at for what it leaves.
        is_known: !matches!(result.outcome, Outcome::TimedOut { .. } | Outcome::Aborted)
            && (result.unlisted.is_none() || !result.left_over_processes.is_empty()),
        is_whole: result.unlisted.is_none(),
    };
    let judged = judge(budgets, Some(used), result.group.as_ref(), left);
    let is_unmeasured =
        |judged: &BudgetResult| judged.budget.quantity.is_of_group() && judged.measured().is_none();
    if judged.iter().any(is_unmeasured) {
        result.notes.push(UNMEASURED.to_owned());
    }
    if result.outcome == Outcome::LeftOver && allows_left(&judged) {
        result.outcome = Outcome::Passed;
        let left = result.reason.take().unwrap_or_default();
        result.notes.push(format!("{left}, which its budget allows"));
    }
    if result.outcome == Outcome::Passed
        && let Some(reason) = failure(&judged)
    {
        (result.outcome, result.reason) = (Outcome::OverBudget, Some(reason));
    }
    result.budgets = judged;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Memory, RoleMemory};
    use crate::run::measure::Usage;
    use crate::run::role_use::{RoleUse, RoleUses};

    fn used(lower: u64, upper: Option<u64>) -> Used {
        let memory = Memory {
            anon_peak_bytes: Some(lower),
            anon_peak_bytes_upper: upper,
            growth_bytes_per_minute: Some(-5),
            ..Memory::default()
        };
        let role = |role: &str| RoleMemory {
            role: role.to_owned(),
            rss_peak_bytes: lower,
            rss_peak_bytes_upper: upper,
            processes: 1,
        };
        let usage =
            Usage { memory, roles: vec![role("cc"), role("unsampled")], ..Usage::default() };
        let of_cc = RoleUse {
            anon_bytes: lower / 2,
            pss_bytes: Some(lower / 4),
            growth_bytes_per_minute: Some(101),
        };
        Used { usage: Some(usage), roles: RoleUses::known("cc", of_cc, 7), leaks: None }
    }

    fn budget(role: Option<&str>, quantity: Quantity) -> Budget {
        let role = role.map(str::to_owned);
        Budget { role, quantity, limit_bytes: 100, action: Action::Fail }
    }

    #[track_caller]
    fn check(role: Option<&str>, quantity: Quantity, used: Option<&Used>, verdict: BudgetVerdict) {
        check_left(role, quantity, used, LeftOverMemory::default(), verdict);
    }

    #[track_caller]
    fn check_left(
        role: Option<&str>,
        quantity: Quantity,
        used: Option<&Used>,
        left: LeftOverMemory<'_>,
        verdict: BudgetVerdict,
    ) {
        let results = judge(&[budget(role, quantity)], used, None, left);
        let verdicts: Vec<_> = results.iter().map(|result| result.verdict).collect();
        assert_eq!(verdicts, [verdict], "{results:?}");
        assert_eq!(failure(&results).is_some(), verdict == BudgetVerdict::Exceeded);
    }

    use BudgetVerdict::{CannotTell, Exceeded, Kept};
    use Quantity::{AnonPeak, Growth, LeftOver, PssPeak, RssPeak};

    #[test]
    fn a_budget_fails_only_when_the_lower_bound_is_above_it() {
        check(None, AnonPeak, Some(&used(101, None)), Exceeded);
        check(None, AnonPeak, Some(&used(101, Some(500))), Exceeded);
        check(None, AnonPeak, Some(&used(100, Some(101))), CannotTell);
        check(None, AnonPeak, Some(&used(0, None)), CannotTell);
        check(None, AnonPeak, Some(&used(50, Some(100))), Kept);
        check(None, AnonPeak, None, CannotTell);
        check(None, PssPeak, Some(&used(500, None)), CannotTell);
        check(None, Growth, Some(&used(0, None)), Kept);
    }

    #[test]
    fn a_role_is_held_to_each_quantity() {
        check(Some("cc"), RssPeak, Some(&used(101, None)), Exceeded);
        check(Some("ld"), RssPeak, Some(&used(101, None)), CannotTell);
        check(Some("cc"), AnonPeak, Some(&used(202, None)), Exceeded);
        check(Some("cc"), AnonPeak, Some(&used(101, None)), CannotTell);
        check(Some("cc"), AnonPeak, Some(&used(80, Some(100))), Kept);
        check(Some("cc"), PssPeak, Some(&used(404, None)), Exceeded);
        check(Some("cc"), PssPeak, Some(&used(202, Some(300))), CannotTell);
        check(Some("cc"), PssPeak, Some(&used(80, Some(100))), Kept);
        check(Some("cc"), Growth, Some(&used(1, None)), Exceeded);
        check(Some("unsampled"), Growth, Some(&used(1, None)), CannotTell);
        check(Some("unsampled"), AnonPeak, Some(&used(80, Some(100))), Kept);
        check(Some("unsampled"), AnonPeak, Some(&used(500, None)), CannotTell);
    }

    #[test]
    fn what_is_left_is_that_of_all_or_of_a_role() {
        let process = |pid, rss_bytes| LeftOverProcess {
            pid,
            comm: String::new(),
            rss_bytes,
            shares_memory_with: None,
            held_bytes: Some(0),
        };
        fn left(
            left_over_processes: &[LeftOverProcess],
            shared_bytes: Option<u64>,
        ) -> LeftOverMemory<'_> {
            LeftOverMemory { left_over_processes, shared_bytes, is_known: true, is_whole: true }
        }
        let used = used(1, None);
        let used = Some(&used);
        check(None, LeftOver, used, CannotTell);
        check_left(None, LeftOver, None, left(&[], None), Kept);
        check_left(None, LeftOver, used, left(&[], Some(101)), Exceeded);
        check_left(None, LeftOver, used, left(&[process(7, Some(60))], Some(40)), Kept);
        check_left(None, LeftOver, used, left(&[process(7, Some(60))], Some(41)), Exceeded);
        check_left(None, LeftOver, used, left(&[process(7, None)], None), CannotTell);
        let two = [process(7, Some(101)), process(8, Some(1))];
        check_left(Some("cc"), LeftOver, used, left(&two, None), Exceeded);
        check_left(Some("ld"), LeftOver, used, left(&two, None), Kept);
        let unknown = [process(8, Some(101))];
        check_left(Some("cc"), LeftOver, used, left(&unknown, None), CannotTell);
    }

    #[test]
    fn only_a_budget_of_all_that_fails_and_was_kept_allows_to_leave() {
        let allows = |budget: Budget, bytes| {
            let left = LeftOverMemory {
                shared_bytes: Some(bytes),
                is_known: true,
                is_whole: true,
                ..LeftOverMemory::default()
            };
            allows_left(&judge(&[budget], None, None, left))
        };
        assert!(allows(budget(None, LeftOver), 100));
        assert!(!allows(budget(None, LeftOver), 101));
        assert!(!allows(budget(Some("cc"), LeftOver), 0));
        assert!(!allows(Budget { action: Action::Warn, ..budget(None, LeftOver) }, 0));
        assert!(!allows_left(&[]));
    }

    #[test]
    fn a_budget_that_warns_does_not_fail() {
        let budget = Budget { action: Action::Warn, limit_bytes: 1, ..budget(None, AnonPeak) };
        let results = judge(&[budget], Some(&used(2, None)), None, LeftOverMemory::default());
        assert_eq!(results[0].verdict, Exceeded);
        assert_eq!(failure(&results), None);
    }
}
