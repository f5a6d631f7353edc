//! Tests in a root file system that is not the host's: their directory, their user, and what is kept of
//! what they wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::running::{container, isolated, options, results, shell, suite, with_more_time};
use memsample_runner::results::{Outcome, TestResult};
use memsample_runner::run::RunOptions;
use memsample_runner::sandbox::Keep;
use memsample_runner::suite::{Sandbox, Test};
use tempfile::{TempDir, tempdir};

/// A directory with a root file system of busybox, in which there is a user whom no other has.
struct Roots {
    directory: TempDir,
}

impl Roots {
    fn new() -> Self {
        let directory = tempdir().unwrap();
        container(directory.path(), "minimal");
        let roots = Self { directory };
        let users = "root:x:0:0::/root:/bin/sh\ninside:x:4242:4343::/home/inside:/bin/sh\n";
        fs::write(roots.root().join("etc/passwd"), users).unwrap();
        fs::write(roots.root().join("etc/group"), "some:x:4444:other,inside\n").unwrap();
        roots
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("lxc/minimal/rootfs")
    }

    fn options(&self) -> RunOptions {
        let mut options = options(&self.directory.path().join("results"));
        options.lxc_path = self.directory.path().join("lxc");
        options
    }

    /// The root in bubblewrap and in a container.
    fn sandboxes(&self) -> [Sandbox; 2] {
        let root = Some(self.root());
        [Sandbox::Bubblewrap { root }, Sandbox::Lxc { name: "minimal".to_owned() }]
    }

    /// Runs tests and returns their results.
    fn run(&self, tests: Vec<Test>) -> Vec<TestResult> {
        let results = results(&suite(tests), &self.options());
        // None of them changes the root.
        assert!(!self.root().join("usr/lib").exists() && !self.root().join("opt").exists());
        results
    }
}

#[track_caller]
fn assert_passed(results: &[TestResult]) {
    for result in results {
        assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
        assert!(result.notes.is_empty(), "{result:#?}");
    }
}

#[test]
fn a_directory_that_a_root_lacks_is_the_hosts() {
    let roots = Roots::new();
    let mut tests = Vec::new();
    // Below a directory that the root has, and below none.
    for cwd in ["/usr/lib", "/opt"] {
        for sandbox in roots.sandboxes() {
            let line = format!(
                "test $(pwd) = {cwd} && test \"$(ls -a | wc -l)\" -ge 2 && ! touch {cwd}/x && test -d /usr"
            );
            let test = shell(&format!("{cwd} {sandbox:?}"), &line);
            tests.push(isolated(Test { cwd: cwd.into(), ..test }, sandbox));
        }
    }
    // Of the host's files those of the directory are seen, and no others.
    let seen = Path::new("/usr/lib/os-release").exists();
    assert!(seen, "a Linux without os-release");
    let line = "test -e os-release && test ! -e /usr/bin && ! touch /x && ! touch /usr/x";
    let [bwrap, _] = roots.sandboxes();
    let reads = shell("reads", line);
    tests.push(isolated(Test { cwd: "/usr/lib".into(), ..reads }, bwrap));
    assert_passed(&roots.run(tests));
}

#[test]
fn a_user_is_looked_up_in_the_root() {
    let roots = Roots::new();
    let as_user = |test: Test, user: &str| Test { run_as: Some(user.to_owned()), ..test };
    let line =
        "test $(id -u) = 4242 && test \"$(id -G)\" = '4343 4444' && test $HOME = /home/inside";
    let mut tests = Vec::new();
    for sandbox in roots.sandboxes() {
        for user in ["inside", "4242"] {
            let test = shell(&format!("{user} {sandbox:?}"), line);
            tests.push(isolated(as_user(test, user), sandbox.clone()));
        }
    }
    let known = tests.len();
    // Who is on this machine alone, and who is in the root alone.
    for sandbox in roots.sandboxes() {
        let test = as_user(shell(&format!("nobody {sandbox:?}"), "true"), "nobody");
        tests.push(isolated(test, sandbox));
    }
    tests.push(isolated(as_user(shell("outside", "true"), "inside"), Sandbox::None));
    let results = roots.run(tests);
    assert_passed(&results[..known]);
    let reasons = results[known..].iter().map(|result| match &result.outcome {
        Outcome::NotStarted { reason } => reason.clone(),
        other => panic!("{other:?}"),
    });
    let at = roots.root().display().to_string();
    let of_root = format!("there is no user `nobody` in `{at}`");
    let expected = [of_root.clone(), of_root, "there is no user `inside`".to_owned()];
    assert_eq!(reasons.collect::<Vec<String>>(), expected);
}

#[test]
fn users_that_a_root_does_not_tell_are_not_guessed() {
    let roots = Roots::new();
    // A link out of the root leads to what the root has there, which is nothing.
    fs::remove_file(roots.root().join("etc/passwd")).unwrap();
    std::os::unix::fs::symlink("/../../etc/shells", roots.root().join("etc/passwd")).unwrap();
    for sandbox in roots.sandboxes() {
        let directory = tempdir().unwrap();
        let mut options = roots.options();
        options.directory = directory.path().join("results");
        let test = Test { run_as: Some("root".to_owned()), ..shell("test", "true") };
        let result = crate::running::result(isolated(test, sandbox), &options);
        let Outcome::NotStarted { reason } = &result.outcome else { panic!("{result:#?}") };
        assert!(reason.contains("/etc/passwd: No such file"), "{reason}");
    }
}

#[test]
fn artifacts_are_what_the_test_wrote_in_its_root() {
    let roots = Roots::new();
    let writes = "mkdir out && echo inside > out/a.log && chmod 4755 out/a.log && ln -s /etc/passwd out/b.log";
    let [root, lxc] = roots.sandboxes();
    let sandboxes = [Sandbox::Bubblewrap { root: None }, root, lxc.clone()];
    let mut tests: Vec<Test> = sandboxes
        .into_iter()
        .map(|sandbox| {
            let test = shell(&format!("{sandbox:?}"), writes);
            let artifacts = vec!["out/*.log".to_owned(), "*.conf".to_owned()];
            isolated(Test { cwd: "/tmp".into(), artifacts, ..test }, sandbox)
        })
        .collect();
    // A link in the place of its directory leads out of what it wrote.
    let line = "cd / && rm -r /tmp && ln -s /etc /tmp";
    let artifacts = vec!["passwd".to_owned()];
    let leads_out = shell("leads out", line);
    tests.push(isolated(Test { cwd: "/tmp".into(), artifacts, ..leads_out }, lxc));
    let results = roots.run(tests);
    assert_passed(&results);
    for (index, result) in results[..3].iter().enumerate() {
        let [kept] = result.artifacts.as_slice() else { panic!("{result:#?}") };
        assert!(kept.ends_with("1.1/artifacts/out/a.log"), "{result:#?}");
        let kept = roots.options().directory.join(kept);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "inside\n", "{index}");
        // What runs with the rights of its owner does not do so with ours.
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(kept).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o755);
    }
    assert!(results[3].artifacts.is_empty(), "{results:#?}");
}

#[test]
fn a_directory_that_is_given_for_artifacts_is_kept_in_every_sandbox() {
    let roots = Roots::new();
    let line = "test -z \"$(ls $KEPT)\" && mkdir $KEPT/logs && echo inside > $KEPT/logs/a && ln -s /etc/passwd \
                $KEPT/link && echo $KEPT";
    let of_host = [Sandbox::None, Sandbox::PidNamespace, Sandbox::Bubblewrap { root: None }];
    let mut tests = Vec::new();
    for sandbox in of_host.into_iter().chain(roots.sandboxes()) {
        // Only root has other users' rights to take, and a directory for temporary files is open to all.
        let is_root = rustix::process::geteuid().is_root();
        let user = match &sandbox {
            _ if !is_root => None,
            Sandbox::Bubblewrap { root: Some(_) } | Sandbox::Lxc { .. } => Some("inside"),
            _ => Some("nobody"),
        };
        let test = Test {
            artifacts_variable: Some("KEPT".to_owned()),
            run_as: user.map(str::to_owned),
            cwd: "/".into(),
            ..shell(&format!("{sandbox:?}"), line)
        };
        tests.push(isolated(test, sandbox));
    }
    fs::set_permissions(
        roots.directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut options = roots.options();
    options.keep_failed = Some(Keep::Directory);
    let results = results(&suite(tests), &options);
    assert_passed(&results);
    for result in &results {
        let [kept] = result.artifacts.as_slice() else { panic!("{result:#?}") };
        assert!(kept.ends_with("artifacts/logs/a"), "{result:#?}");
        assert_eq!(fs::read_to_string(options.directory.join(kept)).unwrap(), "inside\n");
    }
}

#[test]
fn what_a_container_wrote_is_kept_of_a_test_that_fails_or_takes_too_long() {
    let roots = Roots::new();
    let [_, lxc] = roots.sandboxes();
    let mut options = roots.options();
    options.keep_failed = Some(Keep::Directory);
    let line = |end: &str| format!("echo x > /usr/left; echo written; {end}");
    let mut slow = shell("takes too long", &line("sleep 1000"));
    slow.grace = Duration::ZERO;
    let tests = [slow, shell("fails", &line("exit 1")), shell("passes", &line("exit 0"))];
    let mut tests = tests.map(|test| isolated(test, lxc.clone())).to_vec();
    // The first one has written before its time is over.
    let results = with_more_time(Duration::from_millis(500), |timeout| {
        tests[0].timeout = timeout;
        options.directory = roots.directory.path().join(format!("{timeout:?}"));
        let results = results(&suite(tests.clone()), &options);
        let stdout = options.directory.join(results[0].stdout.as_ref().unwrap());
        (!fs::read(stdout).unwrap().is_empty()).then_some(results)
    });
    assert_eq!(crate::running::words(&results), ["timed_out", "failed", "passed"]);
    for result in &results[..2] {
        let kept = options.directory.join(result.kept.as_ref().unwrap());
        let left = kept.join("overlay/delta/usr/left");
        assert_eq!(fs::read_to_string(left).unwrap(), "x\n", "{result:#?}");
    }
    assert_eq!(results[2].kept, None);
}

#[test]
fn the_streams_of_a_test_belong_to_its_user_in_every_sandbox() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let roots = Roots::new();
    let line = "echo out > /proc/self/fd/1 && echo err > /proc/self/fd/2 && id -u";
    let of_host = [Sandbox::None, Sandbox::PidNamespace, Sandbox::Bubblewrap { root: None }];
    let mut tests = Vec::new();
    for (sandbox, user) in (of_host.into_iter().map(|sandbox| (sandbox, "nobody")))
        .chain(roots.sandboxes().map(|sandbox| (sandbox, "inside")))
    {
        let test = shell(&format!("{}", tests.len()), line);
        let test = Test { run_as: Some(user.to_owned()), cwd: "/".into(), ..test };
        tests.push(isolated(test, sandbox));
    }
    let results = roots.run(tests);
    assert_eq!(results.len(), 5);
    assert_passed(&results);
    for number in 0..results.len() {
        let directory = format!("results/tests/{:04}-{number}/1.1", number + 1);
        let read = |file: &str| {
            fs::read_to_string(roots.directory.path().join(&directory).join(file)).unwrap()
        };
        let user = if number < 3 { "65534" } else { "4242" };
        assert_eq!(
            (read("stdout"), read("stderr")),
            (format!("out\n{user}\n"), "err\n".to_owned())
        );
    }
}
