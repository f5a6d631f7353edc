//! Opening a store to look into it.

use memsample_store::{Address, Store};

/// Opens a store that there is.
pub(super) fn open(address: &Address) -> anyhow::Result<Store> {
    // A directory that is only read is not made.
    if let Address::Directory(directory) = address
        && !directory.is_dir()
    {
        anyhow::bail!("there is no store at `{address}`: `memsample push` makes one");
    }
    Ok(Store::open(address)?)
}
