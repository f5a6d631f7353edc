//! Answers that are the same as long as the index is: many readers look at the same pages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::HeaderValue;

use crate::refresh::Progress;

/// The bytes of all answers that are kept.
const MAX_BYTES: usize = 32 << 20;
/// The largest answer that is kept.
pub(crate) const MAX_ANSWER: usize = 2 << 20;

/// What an answer depends on beside the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    changes: u64,
    /// A page says when the store was compared last, to the minute, and what is wrong.
    minute: Option<i64>,
    problem: Option<String>,
    reading: Option<(usize, usize)>,
}

impl From<&Progress> for Stamp {
    fn from(progress: &Progress) -> Self {
        Self {
            changes: progress.changes,
            minute: progress.compared.map(|at| at.as_second() / 60),
            problem: progress.problem.clone(),
            reading: progress.reading,
        }
    }
}

/// An answer: its type, and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) content_type: HeaderValue,
    pub(crate) body: Bytes,
}

#[derive(Default)]
struct Kept {
    stamp: Option<Stamp>,
    answers: HashMap<String, Answer>,
    bytes: usize,
}

/// The answers that are kept, all of the same state of the index.
#[derive(Default)]
pub(crate) struct Answers {
    kept: Mutex<Kept>,
}

impl Answers {
    pub(crate) fn get(&self, stamp: &Stamp, uri: &str) -> Option<Answer> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.stamp.as_ref() != Some(stamp) {
            return None;
        }
        kept.answers.get(uri).cloned()
    }

    pub(crate) fn keep(&self, stamp: Stamp, uri: String, answer: Answer) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.stamp.as_ref() != Some(&stamp) || kept.bytes + answer.body.len() > MAX_BYTES {
            *kept = Kept { stamp: Some(stamp), ..Kept::default() };
        }
        kept.bytes += answer.body.len();
        if let Some(before) = kept.answers.insert(uri, answer) {
            kept.bytes -= before.body.len();
        }
    }
}
