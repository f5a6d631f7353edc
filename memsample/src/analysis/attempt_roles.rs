//! Which process images are of which role: of a whole recording, or of each attempt of a test.

use std::collections::BTreeMap;
use std::io;

use super::sampled_image::exited_images;
use super::test_membership::images_of_tests;
use super::test_spans::{span_of, spans};
use crate::recording::Recording;

/// The process images of one role in one attempt of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRole {
    /// The test.
    pub test: String,
    /// The attempt, from 0 in the order of their begin.
    pub attempt: usize,
    /// The name of the marks of the attempt; `None` where there are none.
    pub mark: Option<String>,
    /// The time of the mark at the begin of the attempt, or else of the first sample of its processes; in milliseconds
    /// since 1970.
    pub begin_ms: i64,
    /// The time of the mark at its end, or else of the last sample of its processes; likewise.
    pub end_ms: i64,
    /// What the processes do.
    pub role: String,
    /// The keys of the images in `processes.process`, ascending.
    pub images: Vec<u64>,
}

/// Returns the roles of all attempts of all tests, in the order of the test, the attempt and the role.
///
/// The images are those of which [`test_usages`](super::test_usages) adds up the samples: those with the test's name in
/// `processes.test`, or the descendants of the `memsample exec` that ran it.
///
/// # Errors
///
/// A table cannot be read.
pub fn attempt_roles(recording: &Recording) -> io::Result<Vec<AttemptRole>> {
    let spans = spans(recording)?;
    let mut roles: BTreeMap<(String, usize, String), AttemptRole> = BTreeMap::new();
    for (process, image) in exited_images(recording, images_of_tests(recording)?.counted)? {
        let Some(test) = image.row.test.clone() else { continue };
        let spans = spans.get(&test).map_or(&[][..], Vec::as_slice);
        let attempt = span_of(spans, &image);
        let (first_ms, last_ms) = (image.row.first_ms, image.row.last_ms);
        let span = spans.get(attempt);
        let begin_ms = span.map(|span| span.begin_ms);
        let end_ms = span.and_then(|span| span.end).map(|(end_ms, _)| end_ms);
        let role =
            roles.entry((test.clone(), attempt, image.row.role.clone())).or_insert_with(|| {
                AttemptRole {
                    test,
                    attempt,
                    mark: span.map(|span| span.name.clone()),
                    begin_ms: begin_ms.unwrap_or(first_ms),
                    end_ms: end_ms.unwrap_or(last_ms),
                    role: image.row.role.clone(),
                    images: Vec::new(),
                }
            });
        if begin_ms.is_none() {
            role.begin_ms = role.begin_ms.min(first_ms);
        }
        if end_ms.is_none() {
            role.end_ms = role.end_ms.max(last_ms);
        }
        role.images.push(process);
    }
    let mut roles: Vec<AttemptRole> = roles.into_values().collect();
    roles.iter_mut().for_each(|role| role.images.sort_unstable());
    Ok(roles)
}

/// Returns the images of each role of the whole machine, by the role; the keys are `processes.process`.
///
/// # Errors
///
/// The table cannot be read.
pub fn recording_roles(recording: &Recording) -> io::Result<BTreeMap<String, Vec<u64>>> {
    let mut roles: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    recording.for_each_image(|row| roles.entry(row.role).or_default().push(row.process))?;
    Ok(roles)
}
