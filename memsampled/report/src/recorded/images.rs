//! The process images of a recording, with their roles.

use std::collections::HashMap;
use std::io;

use memsample::Recording;
use memsample::analysis::for_each_image;

/// A process image, as far as a stack by role needs it.
pub(super) struct Image {
    pub(super) process: u64,
    /// The position of its role in [`Images::roles`].
    pub(super) role: usize,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// The largest sampled resident set, in bytes; 0 of an image without samples.
    pub(super) rss_max_bytes: u64,
}

/// All images of a recording.
#[derive(Default)]
pub(super) struct Images {
    pub(super) roles: Vec<String>,
    pub(super) images: Vec<Image>,
}

impl Images {
    pub(super) fn read(recording: &Recording) -> io::Result<Self> {
        let mut images = Self::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        for_each_image(recording, |image| {
            let role = match places.get(&image.role) {
                Some(role) => *role,
                None => {
                    places.insert(image.role.clone(), images.roles.len());
                    images.roles.push(image.role);
                    images.roles.len() - 1
                }
            };
            images.images.push(Image {
                process: image.process.0,
                role,
                first_ms: image.first_ms,
                last_ms: image.last_ms,
                rss_max_bytes: image.rss_peak_bytes.unwrap_or(0),
            });
        })?;
        Ok(images)
    }
}
