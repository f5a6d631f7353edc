//! Directories in which somebody else has put what a program does not expect.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use memsample_beneath::{HeldDirectory, is_temporary, open_regular, read_regular, remove_tree};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a pipe can be made");
}

#[test]
fn links_lead_nowhere_else_than_in_their_root() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("root/srv/x")).unwrap();
    symlink("/srv", at("root/absolute")).unwrap();
    symlink("../../../../srv", at("root/upwards")).unwrap();
    symlink(at("root/srv"), at("root/outside")).unwrap();
    let root = HeldDirectory::open(&at("root")).unwrap();
    for path in ["srv/x", "absolute/x", "upwards/x", "../srv/x"] {
        let opened = root.directory_in_root(Path::new(path)).unwrap();
        assert_eq!(opened.entries().unwrap().count(), 0, "{path}");
    }
    let outside = root.directory_in_root(Path::new("outside/x")).unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::NotFound);
}

#[test]
fn only_regular_files_are_opened_and_nothing_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "contents").unwrap();
    fs::create_dir(at("directory")).unwrap();
    fifo(&at("fifo"));
    symlink("file", at("link")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

    let held = HeldDirectory::open(directory.path()).unwrap();
    assert_eq!(held.read("file", 8).unwrap(), b"contents");
    assert_eq!(held.read("file", 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
    for name in ["directory", "fifo", "link", "zero", "socket"] {
        assert!(held.file(name).is_err(), "{name} was opened");
        assert!(held.lock_file(name).is_err(), "{name} was locked");
        assert!(held.create_file(name, 0o600).is_err(), "{name} was created");
    }
    for name in ["", ".", "..", "../file", "directory/x", "/etc/passwd"] {
        assert_eq!(held.file(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        assert_eq!(held.remove_file(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
    // A path that a person gave may be a link, but not to what is no file.
    assert_eq!(read_regular(&at("link"), 100).unwrap(), b"contents");
    for name in ["directory", "fifo", "zero", "socket"] {
        assert_eq!(open_regular(&at(name)).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn a_file_is_replaced_and_what_its_name_leads_to_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("victim"), "VICTIM").unwrap();
    symlink("victim", at("result")).unwrap();
    symlink("victim", at(".result.tmp")).unwrap();
    let held = HeldDirectory::open(directory.path()).unwrap();
    held.replace("result", |mut file| file.write_all(b"new")).unwrap();
    assert_eq!(fs::read(at("victim")).unwrap(), b"VICTIM");
    assert!(fs::symlink_metadata(at("result")).unwrap().is_file());
    assert_eq!(fs::read(at("result")).unwrap(), b"new");

    let failed = held.replace("result", |mut file| {
        file.write_all(b"half")?;
        Err::<(), _>(std::io::Error::other("no more"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "no more");
    assert_eq!(fs::read(at("result")).unwrap(), b"new");
    let names: Vec<_> = held.entries().unwrap().map(|entry| entry.unwrap().name).collect();
    assert!(!names.iter().any(|name| is_temporary(name)), "{names:?}");
}

#[test]
fn a_tree_deeper_than_descriptors_and_stack_is_removed() {
    // In memory: a busy disk takes minutes for so many directories.
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let held = HeldDirectory::open(directory.path()).unwrap();
    let mut deepest = held.create_directory("tree", 0o755).unwrap();
    for level in 0..30_000 {
        deepest.create_file("file", 0o644).unwrap();
        if level % 1000 == 0 {
            deepest.create_directory("beside", 0).unwrap();
        }
        deepest = deepest.create_directory("d", 0o755).unwrap();
    }
    remove_tree(&held, "tree").unwrap();
    assert_eq!(held.entries().unwrap().count(), 0);
}

#[test]
fn a_tree_is_removed_whatever_it_holds_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("tree/a/b/c")).unwrap();
    fs::create_dir(at("outside")).unwrap();
    fs::write(at("outside/kept"), "").unwrap();
    symlink("../../outside", at("tree/a/link")).unwrap();
    symlink("nowhere", at("tree/a/b/c/broken")).unwrap();
    fifo(&at("tree/a/b/fifo"));
    for name in ["tree/a/b", "tree/a"] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let held = HeldDirectory::open(directory.path()).unwrap();
    remove_tree(&held, "tree").unwrap();
    assert!(!at("tree").exists());
    assert!(at("outside/kept").exists());
    assert_eq!(remove_tree(&held, "tree").unwrap_err().kind(), ErrorKind::NotFound);
    // A link in place of the tree is removed itself.
    symlink("outside", at("tree")).unwrap();
    remove_tree(&held, "tree").unwrap();
    assert!(at("outside/kept").exists());
}
