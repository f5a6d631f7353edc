//! Judges the roles of a recording: of each attempt of each test, or of the recording as a whole.

use std::collections::{BTreeMap, HashMap};
use std::io;

use jiff::Timestamp;
use memsample::Recording;
use memsample::analysis::{
    AttemptRole, attempt_roles, counter_error_bytes, recording_roles, sums_over_time, tick_instants,
};
use serde::Serialize;

use super::judge::judge_within;
use super::judgement::{Judgement, Verdict};
use super::marks::{Cycles, Marks, Span};
use super::role_series::RoleSeries;

/// Ticks of a recording that are judged: of more than these, every second, third and so on.
const MAX_TICKS: usize = 20_000;
/// Two sums trade memory if together they grow or fall by less than this share of the growth of one.
const TRADED: f64 = 0.5;

/// The judgement of one role, or of all together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoleJudgement {
    /// The test; `None` where the recording is judged as a whole.
    pub test: Option<String>,
    /// The attempt of the test, from 1 in the order of their begin.
    pub attempt: Option<usize>,
    /// The name of the mark that began the attempt, such as `attempt 1.1`; `None` where none did.
    pub mark: Option<String>,
    /// What the processes do; `None`: all roles together.
    pub role: Option<String>,
    /// The first and the last instant that was judged; `None` where there is none.
    pub begin: Option<Timestamp>,
    /// The last one.
    pub end: Option<Timestamp>,
    /// The name of the mark that counts cycles; `None` where none repeats.
    pub cycle_mark: Option<String>,
    /// The judgement.
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// What of a recording is judged.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The roles of the whole recording, also where it has tests.
    pub is_whole: bool,
    /// When the program of an attempt ran, without the steps before and behind it, in milliseconds since 1970: by its
    /// test and the name of the mark that began the attempt.
    pub programs: HashMap<(String, String), (i64, i64)>,
}

/// A part of the recording whose roles are judged: an attempt of a test, or all of it.
struct Part {
    test: Option<String>,
    attempt: Option<usize>,
    mark: Option<String>,
    span: Span,
    left_out: Vec<Span>,
    cycles: Option<Cycles>,
    /// The groups of its roles and of all of them together.
    roles: Vec<(Option<String>, usize)>,
}

/// Judges anonymous memory and swap of each role of each attempt of each test, or of each role of the whole recording if
/// it has no test, and of all roles together; worst first within each part. A role without a sample in
/// what is judged is left out.
///
/// What [`Judged::programs`] and the marks of setup and teardown tell is left out. Ticks that were late, missed or dropped
/// are gaps. The memory that it needs grows with the number of roles, and not with the length of the recording.
///
/// # Errors
///
/// A table cannot be read.
pub fn judge_roles(recording: &Recording, judged: &Judged) -> io::Result<Vec<RoleJudgement>> {
    let marks = Marks::read(recording)?;
    let attempts = if judged.is_whole { Vec::new() } else { attempt_roles(recording)? };
    let mut groups_of: HashMap<u64, Vec<usize>> = HashMap::new();
    let parts = match attempts.is_empty() {
        true => vec![whole(recording, &marks, &mut groups_of)?],
        false => parts_of(attempts, &marks, judged, &mut groups_of),
    };
    let whole = tick_instants(recording)?.into_iter().filter(|tick| tick.dropped == 0);
    let ticks: Vec<i64> = whole.map(|tick| tick.ts_ms).collect();
    let stride = ticks.len().div_ceil(MAX_TICKS).max(1);
    let ticks: Vec<i64> = ticks.into_iter().step_by(stride).collect();
    let groups = parts.iter().map(|part| part.roles.len()).sum();
    let mut series: Vec<RoleSeries> = vec![RoleSeries::default(); groups];
    let mut now = 0;
    sums_over_time(recording, &groups_of, |memory| {
        while ticks.get(now).is_some_and(|&tick| tick < memory.ts_ms) {
            now += 1;
        }
        if ticks.get(now) == Some(&memory.ts_ms)
            && let Some(series) = series.get_mut(memory.group)
        {
            series.add(now, memory.sums);
        }
    })?;
    let machine = &recording.manifest().provenance.machine;
    let error_bytes = counter_error_bytes(machine).unwrap_or(0) as f64;
    let mut judgements = Vec::new();
    for part in &parts {
        let mut of_part: Vec<RoleJudgement> = Vec::new();
        for (role, group) in &part.roles {
            let Some(series) = series.get(*group) else { continue };
            of_part.extend(part.judge(role.clone(), series, &ticks, error_bytes));
        }
        // A single role is all.
        if of_part.iter().filter(|it| it.role.is_some()).count() < 2 {
            of_part.retain(|it| it.role.is_some());
        }
        without_trade(&mut of_part);
        of_part.sort_by(|one, other| {
            let rate = |it: &RoleJudgement| it.judgement.by_hour.map_or(0.0, |rate| rate.rate);
            let verdicts = one.judgement.verdict.cmp(&other.judgement.verdict);
            verdicts.then(rate(other).total_cmp(&rate(one)))
        });
        judgements.append(&mut of_part);
    }
    Ok(judgements)
}

/// Numbers the roles of each attempt, and notes of which groups each image is.
fn parts_of(
    attempts: Vec<AttemptRole>,
    marks: &Marks,
    judged: &Judged,
    groups_of: &mut HashMap<u64, Vec<usize>>,
) -> Vec<Part> {
    let mut by_attempt: BTreeMap<(String, usize), Vec<AttemptRole>> = BTreeMap::new();
    for role in attempts {
        by_attempt.entry((role.test.clone(), role.attempt)).or_default().push(role);
    }
    let mut next = 0;
    let part = |((test, attempt), roles): ((String, usize), Vec<AttemptRole>)| {
        let begin_ms = roles.iter().map(|role| role.begin_ms).min().unwrap_or(0);
        let end_ms = roles.iter().map(|role| role.end_ms).max().unwrap_or(0);
        let mark = roles.iter().find_map(|role| role.mark.clone());
        let program = mark.clone().and_then(|mark| judged.programs.get(&(test.clone(), mark)));
        let (from_ms, to_ms) = program.copied().unwrap_or((begin_ms, end_ms));
        let span = (begin_ms.max(from_ms), end_ms.min(to_ms));
        let roles = roles.into_iter().map(|role| (role.role, role.images));
        Part {
            left_out: marks.left_out(Some(&test), (begin_ms, end_ms)),
            cycles: marks.cycles(Some(&test), span),
            roles: grouped(roles.collect(), &mut next, groups_of),
            test: Some(test),
            attempt: Some(attempt + 1),
            mark,
            span,
        }
    };
    by_attempt.into_iter().map(part).collect()
}

fn whole(
    recording: &Recording,
    marks: &Marks,
    groups_of: &mut HashMap<u64, Vec<usize>>,
) -> io::Result<Part> {
    let span = (i64::MIN, i64::MAX);
    Ok(Part {
        test: None,
        attempt: None,
        mark: None,
        span,
        left_out: marks.left_out(None, span),
        cycles: marks.cycles(None, span),
        roles: grouped(recording_roles(recording)?.into_iter().collect(), &mut 0, groups_of),
    })
}

/// Makes a group of each role, and one of all if there is more than one.
fn grouped(
    roles: Vec<(String, Vec<u64>)>,
    next: &mut usize,
    groups_of: &mut HashMap<u64, Vec<usize>>,
) -> Vec<(Option<String>, usize)> {
    let all = (roles.len() > 1).then(|| {
        *next += 1;
        *next - 1
    });
    let mut groups: Vec<(Option<String>, usize)> = all.map(|all| (None, all)).into_iter().collect();
    for (role, images) in roles {
        for image in images {
            groups_of.entry(image).or_default().extend(all.into_iter().chain([*next]));
        }
        groups.push((Some(role), *next));
        *next += 1;
    }
    groups
}

impl Part {
    fn judge(
        &self,
        role: Option<String>,
        series: &RoleSeries,
        ticks: &[i64],
        error_bytes: f64,
    ) -> Option<RoleJudgement> {
        let cycles = self.cycles.as_ref().map(|(_, times)| times.as_slice());
        let kept = |ts_ms: i64| {
            (self.span.0..=self.span.1).contains(&ts_ms)
                && !self.left_out.iter().any(|(from, to)| (*from..=*to).contains(&ts_ms))
        };
        let made = series.to_series(ticks, kept, cycles);
        // It has no sample in what is judged, as the steps around a program.
        if made.span.is_none() && !series.is_unread() {
            return None;
        }
        let instant = |ts_ms: Option<i64>| Timestamp::from_millisecond(ts_ms?).ok();
        let (first, last) = made.span.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        let error_bytes = error_bytes * f64::from(series.processes_max());
        let mut judgement = judge_within(&made.series, error_bytes);
        if series.is_unread() {
            judgement.reason = "its anonymous memory was not read".to_owned();
        }
        Some(RoleJudgement {
            test: self.test.clone(),
            attempt: self.attempt,
            mark: self.mark.clone(),
            role,
            begin: instant(first),
            end: instant(last),
            cycle_mark: self.cycles.as_ref().map(|(name, _)| name.clone()),
            judgement,
        })
    }
}

/// Takes back that a role leaks where others give up as much as it gains: memory that moves is not lost.
fn without_trade(judgements: &mut [RoleJudgement]) {
    let all = judgements.iter().find(|it| it.role.is_none()).map(|it| it.judgement.clone());
    let Some(Judgement { verdict: Verdict::Steady, by_hour: Some(all), .. }) = all else { return };
    for it in judgements.iter_mut().filter(|it| it.judgement.verdict == Verdict::Leaks) {
        let Some(own) = it.judgement.by_hour else { continue };
        if all.upper < TRADED * own.rate && all.lower > -TRADED * own.rate {
            it.judgement.verdict = Verdict::CannotTell;
            it.judgement.confidence = None;
            it.judgement.reason =
                "it grows as other roles fall: all together do not grow by what counts".to_owned();
        }
    }
}
