//! The process images at a tick, for the beginning of a segment.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::Change;
use crate::identity::{Identity, ProcessId};
use crate::journal::ImageState;
use crate::metric::{Metric, Metrics};
use crate::schema::exits::Exit;
use crate::schema::processes::Summary;
use crate::slot_map::SlotMap;

/// Images that have ended and whose exit record may still come, at most: it comes one tick later.
const MAX_ENDED: usize = 16 * 1024;

/// The process images that are being sampled at a tick, with their last numbers.
#[derive(Default)]
pub(super) struct LiveImages {
    images: SlotMap<ImageState>,
    /// Those that ended last.
    ended: VecDeque<EndedImage>,
}

/// An image that has ended.
struct EndedImage {
    identity: Arc<Identity>,
    parent: Option<ProcessId>,
}

impl LiveImages {
    /// Begins with what a segment begins with.
    pub(super) fn of(images: Vec<ImageState>) -> Self {
        let mut live = Self::default();
        for mut image in images {
            // A dump begins with what they are then.
            image.identity = image.now.take().unwrap_or(image.identity);
            live.images.insert(image.slot, image);
        }
        live
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::End(slot) => {
                if let Some(image) = self.images.remove(*slot) {
                    if self.ended.len() >= MAX_ENDED {
                        self.ended.pop_front();
                    }
                    self.ended
                        .push_back(EndedImage { identity: image.identity, parent: image.parent });
                }
            }
            Change::Begin(slot, identity, parent) => {
                let image = ImageState {
                    slot: *slot,
                    identity: Arc::clone(identity),
                    now: None,
                    parent: *parent,
                    comm: identity.comm,
                    test: None,
                    metrics: Metrics::default(),
                    summary: Summary::default(),
                };
                self.images.insert(*slot, image);
            }
            Change::Rename(slot, comm) => {
                if let Some(image) = self.images.get_mut(*slot) {
                    image.comm = *comm;
                }
            }
            Change::Assign(slot, test) => {
                if let Some(image) = self.images.get_mut(*slot) {
                    image.test.clone_from(test);
                }
            }
            Change::Describe(slot, identity) => {
                if let Some(image) = self.images.get_mut(*slot) {
                    image.identity = Arc::clone(identity);
                }
            }
            Change::Row(slot, row) => {
                if let Some(image) = self.images.get_mut(*slot) {
                    image.metrics = row.metrics;
                }
            }
            Change::Absent(_) => {}
        }
    }

    /// Returns the images, of whose samples nothing is summed up.
    pub(super) fn states(&self) -> Vec<ImageState> {
        self.images.iter().map(|(_, image)| image.clone()).collect()
    }

    /// Returns the image with the largest resident set.
    pub(super) fn largest(&self) -> Option<&ImageState> {
        let images = self.images.iter().map(|(_, image)| image);
        images.max_by_key(|image| image.metrics.get(Metric::Rss))
    }

    /// Makes the exit record of an image that had ended by now one of a process of which nothing but
    /// the end is known.
    pub(super) fn complete(&self, exit: &mut Exit) {
        if exit.unsampled.is_some() {
            return;
        }
        let of = |ended: &&EndedImage| ended.identity.process == exit.process;
        if let Some(ended) = self.ended.iter().rev().find(of) {
            exit.unsampled = Some(Arc::clone(&ended.identity));
            exit.parent = ended.parent;
        }
    }
}
