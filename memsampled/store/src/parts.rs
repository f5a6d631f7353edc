//! A large file goes into a bucket in parts; a push that is killed goes on with the part that is missing.
//!
//! Which parts the store has is noted on this machine, a line for each. What is noted and not true, as after a bucket has
//! dropped what was not completed, costs one request: then the file begins anew.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Attributes, Error, PutMultipartOptions, PutPayload};
use serde::{Deserialize, Serialize};

use crate::hash::{Hash, sha256_hex};
use crate::manifest::StoredFile;

/// A file that is larger goes in parts of this size.
pub(crate) const PART_BYTES: u64 = 8 << 20;
/// Parts of one file at one time.
const AT_ONCE: usize = 4;
/// A longer note is none: S3 takes 10,000 parts.
const MAX_NOTE_BYTES: u64 = 4 << 20;

/// A bucket that takes objects in parts.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) bucket: Arc<dyn MultipartStore>,
    /// What names in the bucket begin with.
    pub(crate) prefix: String,
}

/// Why an object was not sent.
#[derive(Debug)]
pub(crate) enum PartsError {
    /// The store refuses or does not answer.
    Store(Error),
    /// The store has all parts, and makes no object of them.
    NotCompleted(Error),
    /// The file cannot be read.
    File(io::Error),
    /// The file is not what it was when it was hashed.
    Changed,
}

/// A line of the note of an upload.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Line {
    /// The first one: the upload, as the store names it.
    Upload { upload: String },
    /// A part that the store has.
    Part { part: usize, id: String },
}

/// What is known of an upload.
struct Upload {
    id: String,
    done: BTreeMap<usize, String>,
    /// Where it is noted; `None` where there is no place for notes.
    note: Option<File>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Parts {
    /// Sends a file, and returns how many bytes of it were sent and how many an earlier push had sent.
    pub(crate) async fn send(
        &self,
        store: &str,
        stored: &StoredFile,
        attributes: Attributes,
        open: impl Fn() -> io::Result<File>,
    ) -> Result<(u64, u64), PartsError> {
        let name = match self.prefix.as_str() {
            "" => stored.object.clone(),
            prefix => format!("{prefix}/{}", stored.object),
        };
        let name = Path::parse(&name)
            .map_err(|source| PartsError::Store(Error::InvalidPath { source }))?;
        let note = note_of(store, stored);
        let noted = note.as_ref().and_then(read_note);
        if let Some(upload) = noted {
            let noted = length(note.as_ref());
            match self.go_on(&name, stored, upload, open().map_err(PartsError::File)?).await {
                // The store knows nothing of it any more, or has other parts than are noted.
                Err(PartsError::Store(Error::NotFound { .. }) | PartsError::NotCompleted(_)) => {}
                // Whatever the server means by it, the next push begins anew.
                Err(PartsError::Store(error)) if length(note.as_ref()) == noted => {
                    Self::forget(note);
                    return Err(PartsError::Store(error));
                }
                other => return self.ended(note, other),
            }
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let id = self.bucket.create_multipart_opts(&name, options).await;
        let id = id.map_err(PartsError::Store)?;
        let upload = Upload::begin(id, note.as_ref());
        let sent = self.go_on(&name, stored, upload, open().map_err(PartsError::File)?).await;
        self.ended(note, sent)
    }

    /// Forgets what was noted of an upload, unless it may go on.
    fn ended<T>(
        &self,
        note: Option<PathBuf>,
        ended: Result<T, PartsError>,
    ) -> Result<T, PartsError> {
        if let Ok(_) | Err(PartsError::Changed) = &ended {
            Self::forget(note);
        }
        ended
    }

    fn forget(note: Option<PathBuf>) {
        if let Some(note) = note {
            // One that stays costs a request.
            let _ = fs::remove_file(note);
        }
    }

    async fn go_on(
        &self,
        name: &Path,
        stored: &StoredFile,
        mut upload: Upload,
        mut file: File,
    ) -> Result<(u64, u64), PartsError> {
        let (mut sent, mut found) = (0, 0);
        let mut hash = Hash::default();
        let id = upload.id.clone();
        let mut sending = FuturesUnordered::new();
        for number in 0.. {
            let mut part = Vec::new();
            (&mut file).take(PART_BYTES).read_to_end(&mut part).map_err(PartsError::File)?;
            if part.is_empty() {
                break;
            }
            hash.update(&part);
            let bytes = part.len() as u64;
            if upload.done.contains_key(&number) {
                found += bytes;
                continue;
            }
            sent += bytes;
            sending.push({
                let id = &id;
                async move {
                    let put = self.bucket.put_part(name, id, number, PutPayload::from(part)).await;
                    (number, put)
                }
            });
            if sending.len() >= AT_ONCE
                && let Some(done) = sending.next().await
            {
                upload.has(done)?;
            }
        }
        while let Some(done) = sending.next().await {
            upload.has(done)?;
        }
        if hash.hex() != stored.sha256 {
            let _ = self.bucket.abort_multipart(name, &id).await;
            return Err(PartsError::Changed);
        }
        let parts = upload.done.into_values().map(|content_id| PartId { content_id }).collect();
        self.bucket.complete_multipart(name, &id, parts).await.map_err(PartsError::NotCompleted)?;
        Ok((sent, found))
    }
}

impl Upload {
    fn begin(id: String, note: Option<&PathBuf>) -> Self {
        let note = note.and_then(|path| {
            fs::create_dir_all(path.parent()?).ok()?;
            let mut file = File::create(path).ok()?;
            write_line(&mut file, &Line::Upload { upload: id.clone() }).ok()?;
            Some(file)
        });
        Self { id, done: BTreeMap::new(), note }
    }

    fn has(&mut self, part: (usize, Result<PartId, Error>)) -> Result<(), PartsError> {
        let (part, id) = (part.0, part.1.map_err(PartsError::Store)?.content_id);
        if let Some(note) = &mut self.note {
            // What is not noted is sent again.
            let _ = write_line(note, &Line::Part { part, id: id.clone() });
        }
        self.done.insert(part, id);
        Ok(())
    }
}

fn length(note: Option<&PathBuf>) -> Option<u64> {
    note?.metadata().ok().map(|it| it.len())
}

fn write_line(file: &mut File, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// Returns where an upload is noted: by the store, the object and its content.
fn note_of(store: &str, stored: &StoredFile) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home)?;
    let StoredFile { object, sha256, bytes, .. } = stored;
    let key = sha256_hex(format!("{store}\0{object}\0{sha256}\0{bytes}\0{PART_BYTES}").as_bytes());
    Some(state.join("memsample").join("pushes").join(key))
}

fn read_note(path: &PathBuf) -> Option<Upload> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(MAX_NOTE_BYTES).read_to_string(&mut text).ok()?;
    let mut lines = text.split_inclusive('\n');
    let Line::Upload { upload: id } = serde_json::from_str(lines.next()?).ok()? else {
        return None;
    };
    let mut done = BTreeMap::new();
    for line in lines {
        // The last one may be torn.
        let Ok(Line::Part { part, id }) = serde_json::from_str(line) else { break };
        done.insert(part, id);
    }
    let note = OpenOptions::new().append(true).open(path).ok()?;
    Some(Upload { id, done, note: Some(note) })
}
