//! The users of this machine, and of another root file system.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use uzers::os::unix::UserExt;

use super::spec::User;

/// Bytes of a list of users or groups that are read, at most: that of a hundred thousand.
const MAX_BYTES: u64 = 16 << 20;
/// Times that a path is resolved: each time, something else on the machine was renamed meanwhile.
const MAX_TRIES: u32 = 1000;

/// Looks a user up by name or by number: in the root file system in which a test runs, or else on this
/// machine.
pub(crate) fn find_user(name: &str, root: Option<&Path>) -> Result<User, String> {
    match root {
        None => of_machine(name),
        Some(root) => {
            let at = root.display();
            let read = |file| {
                lines(root, file).map_err(|error| {
                    let message = format!("cannot read the users of `{at}`: /{file}: {error}");
                    (error.kind(), message)
                })
            };
            let users = read("etc/passwd").map_err(|(_, message)| message)?;
            let groups = match read("etc/group") {
                Ok(groups) => groups,
                // A root without a list of groups has users without further groups.
                Err((io::ErrorKind::NotFound, _)) => String::new(),
                Err((_, message)) => return Err(message),
            };
            of_lists(name, &users, &groups)
                .ok_or_else(|| format!("there is no user `{name}` in `{at}`"))
        }
    }
}

fn of_machine(name: &str) -> Result<User, String> {
    let user = match name.parse::<u32>() {
        Ok(uid) => uzers::get_user_by_uid(uid),
        Err(_) => uzers::get_user_by_name(name),
    };
    let user = user.ok_or_else(|| format!("there is no user `{name}`"))?;
    let gid = user.primary_group_id();
    // Without its groups it would be another user.
    let groups = uzers::get_user_groups(user.name(), gid)
        .ok_or_else(|| format!("the groups of the user `{name}` cannot be looked up"))?;
    Ok(User {
        name: user.name().to_string_lossy().into_owned(),
        uid: user.uid(),
        gid,
        groups: groups.iter().map(uzers::Group::gid).collect(),
        home: user.home_dir().to_owned(),
    })
}

/// Reads a file of a root file system, whose links lead nowhere else.
fn lines(root: &Path, file: &str) -> io::Result<String> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // A pipe there is not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = || openat2(&root, file, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    // The kernel cannot rule out that a rename, of whatever file, has led a `..` out of the root, and says EAGAIN.
    let mut opened = open();
    for _ in 1..MAX_TRIES {
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
        std::thread::yield_now();
        opened = open();
    }
    let file = File::from(opened?);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Finds a user in the lines of `passwd` and `group`.
fn of_lists(wanted: &str, users: &str, groups: &str) -> Option<User> {
    let uid = wanted.parse::<u32>().ok();
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, of) = (fields.next()?, fields.next()?, fields.next()?.parse::<u32>().ok()?);
        let gid = fields.next()?.parse::<u32>().ok()?;
        let home = PathBuf::from(fields.nth(1)?);
        let is_it = uid.map_or(name == wanted, |uid| uid == of);
        is_it.then(|| User { name: name.to_owned(), uid: of, gid, groups: vec![gid], home })
    })?;
    let member_of = groups.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse::<u32>().ok()?;
        fields.next()?.split(',').any(|member| member == user.name).then_some(gid)
    });
    let groups =
        std::iter::once(user.gid).chain(member_of.filter(|&gid| gid != user.gid)).collect();
    Some(User { groups, ..user })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_a_root_is_found_with_its_groups() {
        let users =
            "broken\nroot:x:0:0:root:/root:/bin/sh\na:x:7:8:::\nb:x:9:10:B,,:/home/b:/bin/sh\n";
        let groups = "wheel:x:20:a,b\nb:x:10:b\nbroken:x\nother:x:30:bb\n";
        let found = |wanted| {
            let user = of_lists(wanted, users, groups)?;
            Some((user.name, user.uid, user.gid, user.groups, user.home))
        };
        let b = Some(("b".to_owned(), 9, 10, vec![10, 20], PathBuf::from("/home/b")));
        assert_eq!((found("b"), found("9")), (b.clone(), b));
        assert_eq!(found("a").map(|user| (user.3, user.4)), Some((vec![8, 20], PathBuf::new())));
        assert_eq!((found("wheel"), found("11"), found("")), (None, None, None));
    }
}
