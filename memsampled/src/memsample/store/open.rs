//! Opening a store to look into it.

use anyhow::Context;
use memsample_store::{Address, DirectoryKind, Store};

/// Opens a store that there is.
pub(super) fn open(address: &Address) -> anyhow::Result<Store> {
    // A directory that is only read is not made.
    if let Address::Directory(directory) = address {
        let shown = directory.display();
        match DirectoryKind::of(directory) {
            Ok(DirectoryKind::Store | DirectoryKind::Empty) => {}
            Ok(DirectoryKind::Runs) => anyhow::bail!(
                "`{shown}` is a directory of runs and no store: `memsample push {shown}/* STORE` makes one of them, and \
                 `memsample serve --runs {shown}` shows them"
            ),
            Ok(DirectoryKind::Run) => anyhow::bail!(
                "`{shown}` is a run or a recording and no store: `memsample push {shown} STORE` puts it into one"
            ),
            Ok(DirectoryKind::Other) => {
                anyhow::bail!("`{shown}` is no store: `memsample push` makes one")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                anyhow::bail!("there is no store at `{address}`: `memsample push` makes one")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the store `{address}`"));
            }
        }
    }
    Ok(Store::open(address)?)
}
