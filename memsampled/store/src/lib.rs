//! The recordings and runs of many machines in one place, the *store*: a directory, or a bucket of S3 or Google.
//!
//! ```text
//! run or recording ─▶ source: its files and what it is ─▶ push ─▶ tables, files, then the manifest
//! manifests ─▶ list, pull, verify, prune, compact, and the index of `memsample serve`
//! ```
//!
//! What counts is the manifest of a run, which is written last and removed first: a reader goes by manifests, and
//! never sees half a run. Beside them stand the tables as Parquet files in Hive partitions, so that one glob reads
//! a whole lab.
//!
//! - [`address`]: where a store is. It is reached with the credentials that its users have anyway.
//! - `encryption`, with the feature `buckets`: what encrypts the connections to a bucket.
//! - [`layout`]: what is where in it.
//! - [`manifest`]: what a run is, and which objects it has.
//! - [`store`]: the store itself.
//! - [`download`]: objects whose hash is that of the manifest.
//! - [`releases`]: when a release was begun and closed.
//! - [`mod@push`], [`pull`], [`verify`], [`prune`], [`compact`]: what is done to it.
//!
//! docs/lab.md describes the layout for who queries it.
#![forbid(unsafe_code)]

pub mod address;
mod answer;
pub mod compact;
mod connect;
pub mod directory_kind;
pub mod download;
#[cfg(feature = "buckets")]
pub mod encryption;
#[cfg(feature = "buckets")]
mod endpoint;
mod error;
#[cfg(feature = "buckets")]
mod google;
mod hash;
mod in_place;
pub mod layout;
mod lock;
mod lock_holder;
pub mod manifest;
mod parts;
#[cfg(feature = "buckets")]
mod profile;
pub mod prune;
pub mod pull;
pub mod push;
#[cfg(feature = "buckets")]
mod reach;
pub mod releases;
mod row_groups;
pub mod run_directory;
pub mod runs;
mod seen;
pub mod source;
pub mod store;
mod tree;
pub mod verify;

pub use address::Address;
pub use directory_kind::DirectoryKind;
pub use error::{ErrorKind, StoreError};
pub use hash::sha256_hex;
pub use manifest::{Kind, Manifest, RecordingOf, RowGroups, StoredFile};
pub use push::{Pushed, push};
pub use releases::{ReleaseStep, Step};
pub use run_directory::RunDirectory;
pub use source::{RunSource, SourceOptions};
pub use store::{ManifestKey, Store};
