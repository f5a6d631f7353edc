//! What other threads ask of the two threads of a session.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::marked_process;
use super::oom_kill::OomReason;
use super::scopes::{MAX_SCOPES, Order, OrderKind};
use super::settled_scope::SettledScope;
use crate::clock::{Clock, Now};
use crate::proc::ProcRoot;
use crate::recording::{ClockAnchor, End};
use crate::sampler::TestScope;
use crate::schema::marks::{Mark, MarkKind};
use crate::scope::{Scope, ScopeError};

/// Marks that wait to be written, at most. They are fetched twice a second, so at 10,000 a second the
/// disk may stand still for six seconds.
const MAX_WAITING_MARKS: usize = 64 * 1024;
/// What the names of the marks that wait come to, at most.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// The longest name of a mark or a test, in bytes.
const MAX_NAME_BYTES: usize = 4096;
/// What the labels of one mark may come to: 32 of a thousand characters.
const MAX_LABELS_BYTES: usize = 160 << 10;
/// Orders that wait for the next batch, at most: every scope there can be, assigned and unassigned.
const MAX_ORDERS: usize = 2 * MAX_SCOPES;

/// Explanations of kills that wait for the next batch, at most.
const MAX_WAITING_REASONS: usize = 1024;

/// Why a mark was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarkError {
    /// The recording has ended.
    Ended,
    /// A name has more than 4096 bytes, or the labels have more than 160 KiB.
    TooLong,
    /// More marks wait than the queue holds: 65536, or 16 MiB of names.
    TooMany,
}

impl fmt::Display for MarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the recording has ended",
            Self::TooLong => {
                "the name of a mark has more than 4096 bytes, or its labels more than 160 KiB"
            }
            Self::TooMany => {
                "too many marks at once: 65536 of them, or 16 MiB of names, wait to be written"
            }
        })
    }
}

impl std::error::Error for MarkError {}

/// Readable when the sampling thread shall not wait for its next tick.
pub(super) struct Wake(OwnedFd);

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn wake(&self) {
        // It would block only after 2^64 calls.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes the sampling thread wait again.
    pub(super) fn clear(&self) {
        // It would block if nobody had called.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

/// Marks that wait to be written, and what their texts come to.
#[derive(Default)]
struct WaitingMarks {
    marks: Vec<Mark>,
    bytes: usize,
}

/// Whose PSS is read first.
#[derive(Debug)]
pub(super) enum TestOrder {
    Begin(TestScope, String),
    End(String),
}

/// What other threads say to the two threads of a session.
pub(super) struct Control {
    clock: Arc<dyn Clock>,
    anchor: ClockAnchor,
    root: ProcRoot,
    stopped: AtomicBool,
    /// Whether the recording has had a tick, and what says so.
    ticked: (Mutex<bool>, Condvar),
    /// Why it was stopped, where nobody asked for it.
    end: OnceLock<End>,
    wake: Arc<Wake>,
    /// Not a bounded channel: that would take the memory of all marks there can be, 8 MiB, at once.
    marks: Mutex<WaitingMarks>,
    orders: Mutex<Vec<Order>>,
    oom_reasons: Mutex<Vec<OomReason>>,
    /// What the sampling thread is to know of the orders, and whether there is anything.
    test_orders: Mutex<Vec<TestOrder>>,
    has_test_orders: AtomicBool,
    /// Scopes that are live or wait.
    scopes: Arc<AtomicUsize>,
    /// When somebody last took an interest.
    touched_boot_ns: AtomicU64,
    /// When the last tick began; the start before the first one.
    ticked_boot_ns: AtomicU64,
    /// When the recording was closed; 0 before.
    ended_boot_ns: AtomicU64,
    /// What waits for the writing thread, as who put or took something last has seen it.
    queued: AtomicUsize,
    /// `i32::MIN` where there is none.
    command_exit_code: AtomicI32,
}

impl Control {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        anchor: ClockAnchor,
        root: ProcRoot,
        wake: Arc<Wake>,
    ) -> Self {
        Self {
            clock,
            anchor,
            root,
            stopped: AtomicBool::new(false),
            ticked: (Mutex::new(false), Condvar::new()),
            end: OnceLock::new(),
            wake,
            marks: Mutex::default(),
            orders: Mutex::default(),
            oom_reasons: Mutex::default(),
            test_orders: Mutex::default(),
            has_test_orders: AtomicBool::new(false),
            scopes: Arc::default(),
            touched_boot_ns: AtomicU64::new(anchor.boot_ns),
            ticked_boot_ns: AtomicU64::new(anchor.boot_ns),
            ended_boot_ns: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            command_exit_code: AtomicI32::new(i32::MIN),
        }
    }

    pub(super) fn mark(
        &self,
        kind: MarkKind,
        name: &str,
        test: Option<&str>,
        labels: BTreeMap<String, String>,
        pid: Option<i32>,
    ) -> Result<(), MarkError> {
        // Not while others wait to set theirs.
        let marked = pid.map(|pid| marked_process::read(&self.root, pid));
        // The last ones are taken after it was stopped: none may come behind them.
        let mut waiting = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            return Err(MarkError::Ended);
        }
        if name.len().max(test.map_or(0, str::len)) > MAX_NAME_BYTES {
            return Err(MarkError::TooLong);
        }
        let label_bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        if label_bytes > MAX_LABELS_BYTES {
            return Err(MarkError::TooLong);
        }
        let boot_ns = self.touch();
        let mark = Mark {
            ts_ms: self.anchor.utc_ms(boot_ns),
            boot_ns,
            kind,
            name: name.to_owned(),
            test: test.map(str::to_owned),
            process: None,
            labels,
            marked,
        };
        let bytes = waiting.bytes + mark.text_bytes();
        if waiting.marks.len() >= MAX_WAITING_MARKS || bytes > MAX_WAITING_BYTES {
            return Err(MarkError::TooMany);
        }
        waiting.bytes = bytes;
        waiting.marks.push(mark);
        Ok(())
    }

    pub(super) fn assign(&self, scope: &Scope, test: &str) -> Result<(), ScopeError> {
        let scope = SettledScope::of(scope, &self.root)?;
        self.check_test(test)?;
        if self.scopes.fetch_add(1, Ordering::AcqRel) >= MAX_SCOPES {
            self.scopes.fetch_sub(1, Ordering::AcqRel);
            return Err(ScopeError::TooMany);
        }
        let of_test = scope.of_test();
        self.order(OrderKind::Assign(scope, test.into())).inspect_err(|_| {
            self.scopes.fetch_sub(1, Ordering::AcqRel);
        })?;
        if let Some(scope) = of_test {
            self.order_sampling(TestOrder::Begin(scope, test.to_owned()));
        }
        Ok(())
    }

    pub(super) fn unassign(&self, test: &str) -> Result<(), ScopeError> {
        self.check_test(test)?;
        self.order(OrderKind::Unassign(test.into()))?;
        self.order_sampling(TestOrder::End(test.to_owned()));
        Ok(())
    }

    fn order_sampling(&self, order: TestOrder) {
        let mut orders = self.test_orders.lock().unwrap_or_else(PoisonError::into_inner);
        // Without it the test is one among all.
        if orders.len() < MAX_ORDERS {
            orders.push(order);
            self.has_test_orders.store(true, Ordering::Release);
        }
    }

    fn check_test(&self, test: &str) -> Result<(), ScopeError> {
        if self.is_stopped() {
            return Err(ScopeError::Ended);
        }
        match (1..=MAX_NAME_BYTES).contains(&test.len()) {
            true => Ok(()),
            false => Err(ScopeError::TestName),
        }
    }

    fn order(&self, kind: OrderKind) -> Result<(), ScopeError> {
        let boot_ns = self.touch();
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() >= MAX_ORDERS {
            return Err(ScopeError::TooMany);
        }
        orders.push(Order { boot_ns, kind });
        Ok(())
    }

    /// Notes that somebody takes an interest, and returns when.
    pub(super) fn touch(&self) -> u64 {
        let boot_ns = self.clock.now().boot_ns;
        self.touched_boot_ns.fetch_max(boot_ns, Ordering::AcqRel);
        boot_ns
    }

    pub(super) fn touched_boot_ns(&self) -> u64 {
        self.touched_boot_ns.load(Ordering::Acquire)
    }

    /// Returns when the session began.
    pub(super) fn started_boot_ns(&self) -> u64 {
        self.anchor.boot_ns
    }

    /// Notes that a tick was made.
    pub(super) fn note_tick(&self, now: &Now) {
        self.ticked_boot_ns.store(now.boot_ns, Ordering::Release);
    }

    /// Notes that the recording is being closed.
    pub(super) fn note_end(&self) {
        self.ended_boot_ns.store(self.clock.now().boot_ns, Ordering::Release);
    }

    /// Returns how long the session has lasted, and how long ago the last tick was, or the start before the first
    /// one; zero when it has ended.
    pub(super) fn times(&self) -> (Duration, Duration) {
        let now_ns = self.clock.now().boot_ns;
        let since =
            |end_ns: u64, boot_ns: u64| Duration::from_nanos(end_ns.saturating_sub(boot_ns));
        match self.ended_boot_ns.load(Ordering::Acquire) {
            0 => {
                let ticked_ns = self.ticked_boot_ns.load(Ordering::Acquire);
                (since(now_ns, self.anchor.boot_ns), since(now_ns, ticked_ns))
            }
            ended_ns => (since(ended_ns, self.anchor.boot_ns), Duration::ZERO),
        }
    }

    /// The recording has had a tick.
    pub(super) fn note_first_tick(&self) {
        let (ticked, changed) = &self.ticked;
        if !std::mem::replace(&mut *ticked.lock().unwrap_or_else(PoisonError::into_inner), true) {
            changed.notify_all();
        }
    }

    /// Waits until the recording has had a tick, and returns whether it has.
    pub(super) fn wait_for_tick(&self, at_most: Duration) -> bool {
        let (ticked, changed) = &self.ticked;
        let ticked = ticked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(ticked, at_most, |ticked| !*ticked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn set_queued(&self, queued: usize) {
        self.queued.store(queued, Ordering::Relaxed);
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn scopes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.scopes)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// Stops for a reason of its own. The first one counts.
    pub(super) fn stop_because(&self, end: End) {
        if !self.is_stopped() {
            let _ = self.end.set(end);
            self.stop();
        }
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end.get().cloned()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(super) fn set_command_exit_code(&self, code: i32) {
        self.command_exit_code.store(code, Ordering::Release);
    }

    pub(super) fn command_exit_code(&self) -> Option<i32> {
        Some(self.command_exit_code.load(Ordering::Acquire)).filter(|&code| code != i32::MIN)
    }

    /// Returns the marks that wait.
    pub(super) fn waiting_marks(&self) -> Vec<Mark> {
        std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner)).marks
    }

    /// Takes what a caller knows of kills of the OOM killer. More than wait already are dropped: a run of tests has
    /// few at a time.
    pub(super) fn explain_oom_kills(&self, reason: OomReason) {
        let mut waiting = self.oom_reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING_REASONS {
            waiting.push(reason);
        }
    }

    /// Returns what callers know of kills.
    pub(super) fn waiting_oom_reasons(&self) -> Vec<OomReason> {
        std::mem::take(&mut *self.oom_reasons.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what the sampling thread does not know yet of the tests.
    pub(super) fn waiting_test_orders(&self) -> Vec<TestOrder> {
        if !self.has_test_orders.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *self.test_orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the orders that wait.
    pub(super) fn waiting_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
