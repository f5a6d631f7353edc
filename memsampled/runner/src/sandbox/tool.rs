//! The tools that make sandboxes: unshare(1), bwrap(1) and lxc-execute(1), and how they are called.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::getuid;

use super::init::SharedMemory;
use super::names::{EXEC_SHIM, INIT, PROCESS_NAME};
use super::processes::SANDBOX_VARIABLE;
use super::spec::{ResolvedSandbox, Spec};

/// Where our own program is, in a root that is not the host's. `/dev` is a file system of the
/// sandbox's own in each of them, so that nothing of a root is hidden or changed.
const STAGE: &str = "/dev/memsample";
/// What every sandbox by bwrap has of its own.
const PRIVATE: [&str; 3] = ["/dev", "/proc", "/tmp"];
/// Where the private `/tmp` of a sandbox by bwrap is, in its scratch directory.
const TMP: &str = "tmp";
/// A directory for artifacts, in the scratch directory, and where it is in a sandbox with a `/dev` of its own: not in
/// the stage, which bwrap closes to all users but the first.
pub(super) const GIVEN: &str = "artifacts";
const GIVEN_INSIDE: &str = "/dev/memsample-artifacts";
/// Where what is written in a container is, in its scratch directory.
const DELTA: &str = "overlay/delta";

/// How a sandbox is entered.
pub(super) struct SandboxTool {
    /// The tool that makes it and runs init inside; where there is none, init.
    pub(super) command: Command,
    /// The program and the arguments with which an exec shim is run inside.
    pub(super) shim: (PathBuf, Vec<String>),
    /// What makes it, for messages.
    pub(super) tool: &'static str,
    /// How init comes to be inside.
    pub(super) entry: Entry,
}

/// How init comes to be inside of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is forked; executed where that is not possible.
    Fork,
    /// It is forked with namespaces of its own; where that is not possible, the tool executes it.
    ForkInNamespaces,
    /// The tool executes it.
    Tool,
}

/// Returns how to enter the sandbox that `spec` asks for, and writes the files that its tool reads
/// into the scratch directory.
pub(super) fn sandbox_tool(spec: &Spec) -> io::Result<SandboxTool> {
    let is_root = getuid().is_root();
    if spec.artifacts_variable.is_some() {
        create_for_all(&spec.scratch.join(GIVEN))?;
    }
    match &spec.sandbox {
        ResolvedSandbox::None => {
            let program = under_process_name(spec)?;
            let mut command = Command::new(&program);
            command.args([INIT, SharedMemory::Host.word()]);
            let shim = shim((program, Vec::new()));
            Ok(SandboxTool { command, shim, tool: "memsample", entry: Entry::Fork })
        }
        ResolvedSandbox::PidNamespace => {
            let program = under_process_name(spec)?;
            let mut command = Command::new("unshare");
            command.args(pid_namespace_arguments(is_root));
            // Without rights of its own, init cannot mount.
            let (shm, entry) = match is_root {
                true => (SharedMemory::Mount, Entry::ForkInNamespaces),
                false => (SharedMemory::Host, Entry::Tool),
            };
            command.arg("--").arg(&program).args([INIT, shm.word()]);
            let shim = shim((program, Vec::new()));
            Ok(SandboxTool { command, shim, tool: "unshare", entry })
        }
        ResolvedSandbox::Bubblewrap { root } => {
            let staged = Staged::find(&spec.launcher)?;
            let mut command = Command::new("bwrap");
            command.args(bubblewrap_namespaces(spec.network));
            match root {
                None => command.args(bubblewrap_root()),
                Some(root) => command.args(other_root(root)?),
            };
            let tmp = spec.scratch.join(TMP);
            create_for_all(&tmp)?;
            command.arg("--bind").arg(&tmp).arg("/tmp");
            if let Some((_, inside)) = given_directory(spec) {
                command.arg("--bind").arg(spec.scratch.join(GIVEN)).arg(inside);
            }
            if is_bound(spec) {
                let made = match root {
                    Some(root) if !spec.cwd.starts_with("/tmp") => make_room(root, &spec.cwd)?,
                    _ => Room::default(),
                };
                command.args(made.arguments).arg("--ro-bind").arg(&spec.cwd).arg(&spec.cwd);
                command.args(made.read_only);
            }
            for (host, inside) in &staged.files {
                command.arg("--ro-bind").arg(host).arg(inside);
            }
            if root.is_some() {
                command.args(["--remount-ro", "/"]);
            }
            command
                .arg("--")
                .arg(&staged.program.0)
                .args(&staged.program.1)
                .args([INIT, SharedMemory::Own.word()]);
            let shim = shim(staged.program);
            Ok(SandboxTool { command, shim, tool: "bwrap", entry: Entry::Tool })
        }
        ResolvedSandbox::Lxc { configuration, rootfs, .. } => {
            let staged = Staged::find(&spec.launcher)?;
            let file = spec.scratch.join("lxc.conf");
            let path = spec.scratch.join("lxc");
            fs::create_dir(&path)?;
            fs::create_dir_all(spec.scratch.join(DELTA))?;
            fs::write(&file, lxc_configuration(spec, configuration, rootfs, &staged)?)?;
            let mut command = Command::new("lxc-execute");
            command
                .arg("--name")
                .arg(&spec.id)
                .arg("--lxcpath")
                .arg(path)
                .arg("--rcfile")
                .arg(file);
            command
                .arg("--")
                .arg(&staged.program.0)
                .args(&staged.program.1)
                .args([INIT, SharedMemory::Own.word()]);
            let shim = shim(staged.program);
            Ok(SandboxTool { command, shim, tool: "lxc-execute", entry: Entry::Tool })
        }
    }
}

/// Returns the environment variable that tells a test its directory for artifacts, and what it says.
pub(super) fn given_directory(spec: &Spec) -> Option<(&str, PathBuf)> {
    let directory = match &spec.sandbox {
        ResolvedSandbox::None | ResolvedSandbox::PidNamespace => spec.scratch.join(GIVEN),
        ResolvedSandbox::Bubblewrap { .. } | ResolvedSandbox::Lxc { .. } => GIVEN_INSIDE.into(),
    };
    Some((spec.artifacts_variable.as_deref()?, directory))
}

/// Makes a directory in which every user may write, as `/tmp` is.
fn create_for_all(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o1777))
}

/// Links our own program under the name that tells its processes from those of the test, and returns the
/// path. An exec gives a process the name of the file.
fn under_process_name(spec: &Spec) -> io::Result<PathBuf> {
    let path = spec.scratch.join(PROCESS_NAME);
    symlink(fs::canonicalize(&spec.launcher)?, &path)?;
    Ok(path)
}

/// Returns the arguments of unshare(1) up to the program.
pub(crate) fn pid_namespace_arguments(is_root: bool) -> Vec<&'static str> {
    let mut arguments = vec!["--pid", "--fork", "--kill-child", "--mount-proc", "--ipc"];
    if !is_root {
        arguments.splice(0..0, ["--user", "--map-current-user"]);
    }
    arguments
}

/// Returns the arguments of bwrap(1) that make its namespaces.
pub(crate) fn bubblewrap_namespaces(network: bool) -> Vec<&'static str> {
    let mut arguments =
        vec!["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent"];
    if !network {
        arguments.push("--unshare-net");
    }
    arguments
}

/// Returns those that make a root of the host's, up to what is private to a test.
pub(crate) fn bubblewrap_root() -> [&'static str; 7] {
    ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
}

/// Returns those for another root. What is in it is bound one by one, so that what it lacks, such as a
/// place for the test's directory, is made in the sandbox and not in the root.
fn other_root(root: &Path) -> io::Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    bind_entries(root, Path::new("/"), &mut arguments)?;
    arguments.extend(["--dev", "/dev", "--proc", "/proc"].map(OsString::from));
    Ok(arguments)
}

fn bind_entries(root: &Path, at: &Path, arguments: &mut Vec<OsString>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(at.strip_prefix("/").unwrap_or(at)))? {
        let entry = entry?;
        let inside = at.join(entry.file_name());
        // The sandbox has its own.
        if PRIVATE.iter().any(|own| inside == Path::new(own)) {
            continue;
        }
        if entry.file_type()?.is_symlink() {
            let to = fs::read_link(entry.path())?;
            arguments.extend(["--symlink".into(), to.into(), inside.into()]);
        } else {
            arguments.extend(["--ro-bind".into(), entry.path().into(), inside.into()]);
        }
    }
    Ok(())
}

/// Arguments of bwrap that make room for a directory which a root lacks, and those that close it.
#[derive(Default)]
struct Room {
    arguments: Vec<OsString>,
    read_only: Vec<OsString>,
}

/// Makes the nearest directory that the root has one of the sandbox's own, with the same in it.
fn make_room(root: &Path, cwd: &Path) -> io::Result<Room> {
    let is_there = |at: &&Path| {
        let path = root.join(at.strip_prefix("/").unwrap_or(at));
        path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
    };
    let mut room = Room::default();
    let nearest = cwd.ancestors().find(is_there).filter(|at| *at != Path::new("/"));
    if let Some(at) = nearest {
        room.arguments.extend(["--tmpfs".into(), at.into()]);
        bind_entries(root, at, &mut room.arguments)?;
        room.read_only.extend(["--remount-ro".into(), at.into()]);
    }
    Ok(room)
}

/// Returns whether the test's directory is the host's, bound into a root that lacks it.
fn is_bound(spec: &Spec) -> bool {
    let in_root = |root: &Path| root.join(spec.cwd.strip_prefix("/").unwrap_or(&spec.cwd)).is_dir();
    let lacks = match &spec.sandbox {
        ResolvedSandbox::None | ResolvedSandbox::PidNamespace => false,
        // The sandbox has a `/tmp` of its own.
        ResolvedSandbox::Bubblewrap { .. } if spec.cwd.starts_with("/tmp") => {
            spec.cwd != Path::new("/tmp")
        }
        ResolvedSandbox::Bubblewrap { root } => root.as_ref().is_some_and(|root| !in_root(root)),
        ResolvedSandbox::Lxc { rootfs, .. } => !in_root(rootfs),
    };
    lacks && spec.cwd.is_dir()
}

/// Returns where on the host is what a test wrote into its directory, and what no link there may lead
/// out of.
pub(super) fn outside(spec: &Spec) -> (PathBuf, PathBuf) {
    let below = |directory: PathBuf, top: &str| {
        (directory.join(spec.cwd.strip_prefix(top).unwrap_or(&spec.cwd)), directory)
    };
    match &spec.sandbox {
        _ if is_bound(spec) => (spec.cwd.clone(), PathBuf::from("/")),
        ResolvedSandbox::Bubblewrap { .. } if spec.cwd.starts_with("/tmp") => {
            below(spec.scratch.join(TMP), "/tmp")
        }
        ResolvedSandbox::Bubblewrap { root: Some(root) } => below(root.clone(), "/"),
        ResolvedSandbox::Lxc { .. } => below(spec.scratch.join(DELTA), "/"),
        ResolvedSandbox::None
        | ResolvedSandbox::PidNamespace
        | ResolvedSandbox::Bubblewrap { root: None } => (spec.cwd.clone(), PathBuf::from("/")),
    }
}

fn lxc_configuration(
    spec: &Spec,
    configuration: &Path,
    rootfs: &Path,
    staged: &Staged,
) -> io::Result<String> {
    let word = |path: &Path| {
        let text = text(path)?;
        match text.contains([' ', '\t', '\n', ':', '\\']) {
            true => Err(io::Error::other(format!("`{text}` has a character that lxc cannot take"))),
            false => Ok(text),
        }
    };
    let mut lines = Vec::new();
    if configuration.exists() {
        lines.push(format!("lxc.include = {}", word(configuration)?));
    }
    if !spec.network {
        // Clears what the container has.
        lines.extend(["lxc.net =".to_owned(), "lxc.net.0.type = empty".to_owned()]);
    } else if !configuration.exists() {
        lines.push("lxc.net.0.type = none".to_owned());
    }
    let delta = spec.scratch.join(DELTA);
    lines.extend([
        format!("lxc.rootfs.path = overlayfs:{}:{}", word(rootfs)?, word(&delta)?),
        format!("lxc.uts.name = {}", spec.id),
        // A container inherits nothing.
        format!("lxc.environment = {SANDBOX_VARIABLE}={}", spec.id),
        format!("lxc.log.file = {}", word(&spec.scratch.join("lxc.log"))?),
        "lxc.apparmor.profile = unconfined".to_owned(),
        "lxc.autodev = 1".to_owned(),
        "lxc.tty.max = 0".to_owned(),
        "lxc.mount.auto = proc:rw sys:ro".to_owned(),
        "lxc.mount.entry = tmpfs dev/shm tmpfs rw,nosuid,nodev,mode=1777,create=dir 0 0".to_owned(),
    ]);
    let mut bind = |host: &Path, inside: &Path, how: &str| -> io::Result<()> {
        let inside = word(inside)?;
        let inside = inside.trim_start_matches('/');
        lines.push(format!("lxc.mount.entry = {} {inside} none bind,{how} 0 0", word(host)?));
        Ok(())
    };
    for (host, inside) in &staged.files {
        bind(host, inside, "ro,create=file")?;
    }
    if is_bound(spec) {
        bind(&spec.cwd, &spec.cwd, "ro,create=dir")?;
    }
    if let Some((_, inside)) = given_directory(spec) {
        bind(&spec.scratch.join(GIVEN), &inside, "rw,create=dir")?;
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Our own program with its libraries, for a root in which they are not, or are others.
struct Staged {
    /// Where each file of the host is inside.
    files: Vec<(PathBuf, PathBuf)>,
    /// The program and the arguments that run it.
    program: (PathBuf, Vec<String>),
}

impl Staged {
    /// Finds what the program needs: the same as this process, which is it.
    fn find(launcher: &Path) -> io::Result<Self> {
        // What is not UTF-8 is no library that has to be there.
        let maps = fs::read("/proc/self/maps")?;
        let maps = String::from_utf8_lossy(&maps);
        let mapped: BTreeSet<&str> =
            maps.lines().filter_map(|line| Some(line.split_at(line.find('/')?).1)).collect();
        let is_library = |name: &str| name.ends_with(".so") || name.contains(".so.");
        // Who is executed gets the name: the loader, where there is one.
        let own = Path::new(STAGE).join(PROCESS_NAME);
        let mut files = Vec::new();
        let mut loader = None;
        for path in mapped.into_iter().map(Path::new) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if !is_library(name) {
                continue;
            }
            if name.starts_with("ld-") || name.starts_with("ld.") {
                loader = Some(path);
            } else {
                files.push((path.to_owned(), Path::new(STAGE).join(name)));
            }
        }
        let program = match loader {
            Some(loader) => {
                let program = Path::new(STAGE).join("memsample");
                files.push((loader.to_owned(), own.clone()));
                files.push((launcher.to_owned(), program.clone()));
                let program = text(&program)?;
                (own, vec!["--library-path".to_owned(), STAGE.to_owned(), program])
            }
            None => {
                files.push((launcher.to_owned(), own.clone()));
                (own, Vec::new())
            }
        };
        Ok(Self { files, program })
    }
}

fn shim((program, mut arguments): (PathBuf, Vec<String>)) -> (PathBuf, Vec<String>) {
    arguments.push(EXEC_SHIM.to_owned());
    (program, arguments)
}

fn text(path: &Path) -> io::Result<String> {
    let named = path.to_str().map(str::to_owned);
    named.ok_or_else(|| io::Error::other(format!("`{}` is not UTF-8", path.display())))
}
