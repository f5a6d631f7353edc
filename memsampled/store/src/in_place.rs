//! A directory of runs that nobody pushed, seen as a store: read where it is, and never written.
//!
//! Each run has a manifest, which is made when it is asked for, and the tables that a push would make. Runs that go on,
//! recordings that are not closed, links and hidden directories are left out.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use memsample::Recording;
use memsample_beneath::HeldDirectory;
use memsample_runner::results::FILE;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use crate::error::{ErrorKind, StoreError};
use crate::hash::sha256_hex;
use crate::layout::{FILES, MANIFESTS, NEWS, TABLES, escaped, path_text};
use crate::manifest::{Manifest, StoredFile};
use crate::run_directory::RunDirectory;
use crate::runs::keyed;
use crate::source::read_only;
use crate::tree::Tree;

/// How long news is kept: whoever looks often looks back ten minutes.
const NEWS_KEPT: Duration = Duration::from_secs(20 * 60);
/// Bytes of tables that are kept until they are asked for. An index asks for manifests, some hundred at once, and then for
/// their tables, which a manifest has to hash.
const MAX_MADE: usize = 16 << 20;
/// The tables that an index reads.
const KEYED: [&str; 2] = ["tests", "test_roles"];

/// A directory of runs.
#[derive(Debug)]
pub(crate) struct RunsInPlace {
    directory: PathBuf,
    seen: Mutex<Seen>,
    made: Mutex<Made>,
}

/// Tables that were made for a manifest.
#[derive(Debug, Default)]
struct Made {
    /// By the object: the version of the run that they are of.
    tables: HashMap<String, (String, Bytes)>,
    bytes: usize,
}

/// What was in the directory when it was looked at last.
#[derive(Debug, Default)]
struct Seen {
    runs: BTreeMap<OsString, Stamp>,
    /// Which directory an object is of: `.../NAME`, by the escaped name.
    names: HashMap<String, OsString>,
    was_read: bool,
    news: Vec<News>,
}

#[derive(Debug)]
struct News {
    name: String,
    about: String,
    at: Instant,
}

/// What changes when a run is written anew: when its directory and its files were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp {
    /// Of the directory: what is replaced in it changes it.
    directory: (i64, i64),
    /// Whether it is a run that has ended, or a closed recording.
    is_whole: bool,
    modified: Option<SystemTime>,
    version: String,
}

impl RunsInPlace {
    pub(crate) fn new(directory: &FilePath) -> Self {
        Self { directory: directory.to_owned(), seen: Mutex::default(), made: Mutex::default() }
    }

    /// Opens the directory of a run by the name of its manifest.
    pub(crate) fn directory_of(
        &self,
        manifest: &str,
    ) -> std::result::Result<RunDirectory, StoreError> {
        let escaped = manifest.strip_prefix(MANIFESTS).and_then(|it| it.strip_prefix('/'));
        let name = escaped.and_then(|it| it.strip_suffix(".json")).and_then(|it| self.named(it));
        let name = name.ok_or_else(|| {
            StoreError::new(ErrorKind::NotFound, format!("`{manifest}` is no run any more"))
        })?;
        let path = self.directory.join(&name);
        let tree = HeldDirectory::open(&self.directory).and_then(|it| Tree::beneath(&it, &name));
        let tree = tree.map_err(|error| {
            StoreError::local(format!("cannot read `{}`", path.display()), error)
        })?;
        Ok(RunDirectory::held(tree, path))
    }

    fn named(&self, escaped: &str) -> Option<OsString> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.names.get(escaped).cloned()
    }

    /// Looks at the directory; unless `all`, only at runs whose directory changed.
    fn look<T>(&self, all: bool, answer: impl FnOnce(&Seen) -> T) -> Result<T> {
        if self.directory.join(MANIFESTS).is_dir() {
            let what = format!(
                "`{}` has become a store: start the server again to show it",
                self.directory.display()
            );
            return Err(failed(StoreError::new(ErrorKind::Unavailable, what)));
        }
        let unreadable = |error| {
            let what = format!("cannot read the directory of runs `{}`", self.directory.display());
            failed(StoreError::because(ErrorKind::Unavailable, what, error))
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut runs = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let is_run = entry.file_type().is_ok_and(|it| it.is_dir())
                && !name.as_encoded_bytes().starts_with(b".");
            // One that is removed meanwhile is gone.
            if let (true, Ok(found)) = (is_run, entry.metadata()) {
                let changed = (found.ctime(), found.ctime_nsec());
                let known = seen.runs.get(&name).filter(|it| !all && it.directory == changed);
                let stamp = known.cloned().unwrap_or_else(|| Stamp::of(&entry.path(), changed));
                runs.insert(name, stamp);
            }
        }
        if seen.was_read {
            let version = |runs: &BTreeMap<OsString, Stamp>, name: &OsStr| {
                runs.get(name).filter(|it| it.is_whole).map(|it| it.version.clone())
            };
            let names =
                seen.runs.keys().chain(runs.keys().filter(|it| !seen.runs.contains_key(*it)));
            let changed: Vec<String> = names
                .filter(|name| version(&seen.runs, name) != version(&runs, name))
                .map(|name| manifest_of(name))
                .collect();
            let at = Instant::now();
            seen.news.extend(changed.into_iter().map(|about| News {
                name: format!("{NEWS}/{}", uuid::Uuid::now_v7()),
                about,
                at,
            }));
        }
        seen.news.retain(|news| news.at.elapsed() < NEWS_KEPT);
        seen.names = runs.keys().map(|name| (escaped_name(name), name.clone())).collect();
        seen.runs = runs;
        seen.was_read = true;
        Ok(answer(&seen))
    }

    fn list_now(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        match prefix {
            MANIFESTS => self.look(true, |seen| {
                let whole = seen.runs.iter().filter(|(_, stamp)| stamp.is_whole);
                whole.map(|(name, stamp)| meta(&manifest_of(name), stamp, 0)).collect()
            })?,
            NEWS => self.look(false, |seen| {
                let stamp = Stamp::default();
                seen.news.iter().map(|news| meta(&news.name, &stamp, 0)).collect()
            })?,
            _ => Ok(Vec::new()),
        }
    }

    fn read(&self, location: &Path) -> Result<(ObjectMeta, Bytes)> {
        let not_found = || Error::NotFound {
            path: location.to_string(),
            source: "there is no such run".into(),
        };
        let object = location.as_ref();
        let (kind, rest) = object.split_once('/').ok_or_else(not_found)?;
        if kind == NEWS {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let news = seen.news.iter().find(|it| it.name == object).ok_or_else(not_found)?;
            let bytes = Bytes::from(news.about.clone());
            return Ok((meta(object, &Stamp::default(), bytes.len())?, bytes));
        }
        let (name, table) = match (kind, rest.rsplit_once('/')) {
            (MANIFESTS, None) => (rest.strip_suffix(".json").ok_or_else(not_found)?, None),
            (FILES, Some((name, FILE))) => (name, None),
            (TABLES, Some((table, file))) => {
                let name = file.strip_suffix(".parquet").ok_or_else(not_found)?;
                (name, KEYED.into_iter().find(|it| *it == table))
            }
            _ => return Err(not_found()),
        };
        let name = self.named(name).ok_or_else(not_found)?;
        // Whoever may write there may exchange what is looked at, so all of it is opened beneath what is held.
        let held = HeldDirectory::open(&self.directory).map_err(|_| not_found())?;
        let run = InPlace {
            tree: Tree::beneath(&held, &name).map_err(|_| not_found())?,
            directory: self.directory.join(&name),
            name,
        };
        let found = run.directory.symlink_metadata().map_err(|_| not_found())?;
        let stamp = Stamp::of(&run.directory, (found.ctime(), found.ctime_nsec()));
        if !found.is_dir() || !stamp.is_whole {
            return Err(not_found());
        }
        let read = match (kind, table) {
            (MANIFESTS, _) => run.manifest().map(|(manifest, tables)| {
                self.keep(&stamp, tables);
                Bytes::from(manifest.to_json())
            }),
            (_, Some(table)) => {
                let kept = self.made.lock().unwrap_or_else(PoisonError::into_inner).take(object);
                match kept.filter(|(version, _)| *version == stamp.version) {
                    Some((_, bytes)) => Ok(bytes),
                    None => run.table(table).map(Bytes::from),
                }
            }
            _ => run.results().map(Bytes::from),
        };
        // What is wrong with it is said as long as it is as it is, and keeps no other run out.
        let bytes = read.map_err(|error| {
            let what = memsample_input::with_causes(&error);
            failed(StoreError::new(ErrorKind::Damaged, what))
        })?;
        Ok((meta(object, &stamp, bytes.len())?, bytes))
    }
}

impl RunsInPlace {
    /// Keeps the tables of a run until they are asked for.
    fn keep(&self, stamp: &Stamp, tables: Vec<(String, Bytes)>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        for (object, bytes) in tables {
            made.take(&object);
            // Nobody asked for them.
            if made.bytes + bytes.len() > MAX_MADE {
                *made = Made::default();
            }
            made.bytes += bytes.len();
            made.tables.insert(object, (stamp.version.clone(), bytes));
        }
    }
}

impl Made {
    fn take(&mut self, object: &str) -> Option<(String, Bytes)> {
        let taken = self.tables.remove(object)?;
        self.bytes -= taken.1.len();
        Some(taken)
    }
}

impl Stamp {
    fn of(directory: &FilePath, changed: (i64, i64)) -> Self {
        let of =
            |name: &str| directory.join(name).symlink_metadata().ok().filter(|it| it.is_file());
        let files =
            [of(FILE), of(Recording::FILE), of("tests.parquet"), of("recording/recording.json")];
        let is_closed = !directory.join("journal").exists();
        let [results, recording, ..] = &files;
        let version = files
            .iter()
            .flatten()
            .map(|it| format!("{}.{}-{}-{}", it.ctime(), it.ctime_nsec(), it.ino(), it.len()));
        Self {
            directory: changed,
            is_whole: results.is_some() || (recording.is_some() && is_closed),
            modified: results.as_ref().or(recording.as_ref()).and_then(|it| it.modified().ok()),
            version: version.collect::<Vec<_>>().join("/"),
        }
    }
}

/// A run that is read.
struct InPlace {
    tree: Tree,
    /// Where a person knows it.
    directory: PathBuf,
    name: OsString,
}

impl InPlace {
    /// Makes its manifest, and the tables that it has, by their objects. Only what an index reads has a hash in it.
    fn manifest(&self) -> std::result::Result<(Manifest, Vec<(String, Bytes)>), StoreError> {
        let Self { tree, directory, name } = self;
        let mut tables = Vec::new();
        let mut manifest = read_only(tree, directory)?;
        let unreadable =
            |error| StoreError::local(format!("cannot read `{}`", directory.display()), error);
        let escaped = escaped_name(name);
        for path in tree.files().map_err(unreadable)?.0 {
            let Some(text) = path_text(&path) else { continue };
            // A file that is removed meanwhile is not there.
            let Ok(found) = tree.file(&path).and_then(|file| file.metadata()) else { continue };
            let is_results = path == FilePath::new(FILE);
            let (bytes, sha256) = match is_results {
                true => {
                    let bytes = self.results()?;
                    (bytes.len() as u64, sha256_hex(&bytes))
                }
                false => (found.len(), String::new()),
            };
            let object = format!("{FILES}/{escaped}/{text}");
            let path = Some(text);
            manifest.files.push(StoredFile {
                path,
                object,
                bytes,
                sha256,
                table: None,
                row_groups: None,
            });
        }
        for table in KEYED {
            let Some(bytes) = keyed(tree, directory, table, &manifest)? else { continue };
            let object = format!("{TABLES}/{table}/{escaped}.parquet");
            manifest.files.push(StoredFile {
                path: None,
                object: object.clone(),
                bytes: bytes.len() as u64,
                sha256: sha256_hex(&bytes),
                table: Some(table.to_owned()),
                row_groups: None,
            });
            tables.push((object, Bytes::from(bytes)));
        }
        // The same each time it is made, so that its version says whether it changed.
        manifest.pushed = manifest.started.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Ok((manifest, tables))
    }

    /// Makes a table, as a push does; empty where it has none.
    fn table(&self, table: &str) -> std::result::Result<Vec<u8>, StoreError> {
        let manifest = read_only(&self.tree, &self.directory)?;
        let made = keyed(&self.tree, &self.directory, table, &manifest)?;
        Ok(made.unwrap_or_default())
    }

    fn results(&self) -> std::result::Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let file = self.tree.file(FilePath::new(FILE));
        let read = file.and_then(|mut file| file.read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|error| {
            let path = self.directory.join(FILE);
            StoreError::local(format!("cannot read `{}`", path.display()), error)
        })
    }
}

fn escaped_name(name: &OsStr) -> String {
    escaped(name.as_encoded_bytes())
}

fn manifest_of(name: &OsStr) -> String {
    format!("{MANIFESTS}/{}.json", escaped_name(name))
}

fn meta(object: &str, stamp: &Stamp, size: usize) -> Result<ObjectMeta> {
    Ok(ObjectMeta {
        location: Path::parse(object).map_err(|source| Error::InvalidPath { source })?,
        last_modified: stamp.modified.unwrap_or(UNIX_EPOCH).into(),
        size: size as u64,
        e_tag: Some(stamp.version.clone()),
        version: None,
    })
}

fn failed(error: StoreError) -> Error {
    Error::Generic { store: "runs", source: Box::new(error) }
}

fn read_only_error() -> Error {
    let what = "a directory of runs is only read: `memsample push` makes a store of it, where releases can be begun \
                and closed";
    failed(StoreError::new(ErrorKind::ReadOnly, what))
}

impl fmt::Display for RunsInPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.directory.display())
    }
}

#[async_trait]
impl ObjectStore for RunsInPlace {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only_error())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only_error())
    }

    async fn get_opts(&self, location: &Path, _: GetOptions) -> Result<GetResult> {
        let (meta, bytes) = self.read(location)?;
        let range = 0..meta.size;
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        let (attributes, extensions) = (Attributes::new(), Default::default());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        locations.map(|_| Err(read_only_error())).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.list_now(prefix.map_or("", |it| it.as_ref())) {
            Ok(found) => stream::iter(found.into_iter().map(Ok)).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(read_only_error())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only_error())
    }
}
