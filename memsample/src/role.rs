//! What a process does, by a name that is the same in the next run.

use crate::identity::text;

/// Programs that run a script, without the version behind their name.
const INTERPRETERS: &[&str] =
    &["python", "bash", "dash", "sh", "zsh", "ksh", "node", "perl", "ruby", "java"];

/// Programs whose arguments name what they build.
const COMPILERS: &[&str] = &["rustc", "rustdoc", "clippy-driver", "cargo"];

/// Returns the role of a process: a name for what it does, so that the same part of a test run can be
/// compared over runs, where pids and temporary names differ.
///
/// - For an interpreter (python, sh, bash, node, java, perl, ruby and the like) the base name of the
///   script, `python -m module`, or `sh -c` for a program in the arguments.
/// - For `rustc` and its kind the crate: `rustc serde`.
/// - For any other the base name of the executable, or `comm` where the executable is unknown.
///
/// In each of them `*` stands for what changes from run to run: a number of four digits and more, a
/// hash, the random part of a temporary name. The hash behind the name of a test of Cargo is left out.
///
/// `arguments` are those of the command line, the program's name first. The control group is left out:
/// containers give it names that never come again.
///
/// ```
/// use memsample::role;
///
/// let arguments = ["/usr/bin/python3", "-u", "/tmp/tmp.Xk2b/serve.py", "--port=80"];
/// let role = role(b"python3", Some(b"/usr/bin/python3.13"), arguments.map(str::as_bytes));
/// assert_eq!(role, "serve.py");
/// ```
#[must_use]
pub fn role<'a>(
    comm: &[u8],
    exe: Option<&[u8]>,
    arguments: impl IntoIterator<Item = &'a [u8]>,
) -> String {
    let program = exe.map_or(comm, base_name);
    let program = without_suffix(program, b" (deleted)");
    let mut arguments = arguments.into_iter().skip(1);
    let family = family(program);
    if let Some(interpreter) = INTERPRETERS.iter().find(|name| name.as_bytes() == family) {
        // Which shell `sh` is depends on the machine.
        let interpreter = if *interpreter == "dash" { "sh" } else { interpreter };
        return match script(interpreter, &mut arguments) {
            // `bash /dev/fd/3`: the number says nothing.
            Some(Script::File(path)) if is_descriptor(path) => interpreter.to_owned(),
            Some(Script::File(path)) => stable(base_name(path)),
            Some(Script::Module(name)) => format!("{interpreter} -m {}", stable(name)),
            Some(Script::Class(name)) => stable(name),
            Some(Script::Inline) => format!("{interpreter} -c"),
            None => interpreter.to_owned(),
        };
    }
    if COMPILERS.iter().any(|name| name.as_bytes() == program)
        && let Some(name) = option_value(arguments, b"--crate-name")
    {
        return format!("{} {}", text(program), text(name));
    }
    stable(program)
}

/// What an interpreter runs.
enum Script<'a> {
    File(&'a [u8]),
    /// Of Python.
    Module(&'a [u8]),
    /// Of Java, which has no base name to take.
    Class(&'a [u8]),
    /// The arguments hold the program itself.
    Inline,
}

fn script<'a>(
    interpreter: &str,
    arguments: &mut impl Iterator<Item = &'a [u8]>,
) -> Option<Script<'a>> {
    while let Some(argument) = arguments.next() {
        match (interpreter, argument) {
            (_, b"") => return None,
            ("python", b"-m") => return arguments.next().map(Script::Module),
            ("java", b"-jar") => return arguments.next().map(Script::File),
            ("java", b"-m" | b"--module") => return arguments.next().map(Script::Class),
            ("java", class) if !class.starts_with(b"-") => return Some(Script::Class(class)),
            ("node", b"-e" | b"--eval" | b"-p" | b"--print")
            | ("perl" | "ruby", b"-e" | b"-E")
            | ("python", b"-c") => return Some(Script::Inline),
            (_, b"--") => return arguments.next().map(Script::File),
            // Of the standard input.
            (_, b"-") => return None,
            (_, option) if takes_value(interpreter, option) => {
                arguments.next();
            }
            // Short options of a shell come together: `sh -ec 'exit 1'`.
            (_, [b'-', letters @ ..])
                if is_shell(interpreter)
                    && !letters.starts_with(b"-")
                    && letters.contains(&b'c') =>
            {
                return Some(Script::Inline);
            }
            (_, [b'-', ..]) => {}
            (_, [b'+', ..]) if is_shell(interpreter) => {}
            (_, path) => return Some(Script::File(path)),
        }
    }
    None
}

/// Returns whether the argument behind an option belongs to it.
fn takes_value(interpreter: &str, option: &[u8]) -> bool {
    match (interpreter, option) {
        ("python", b"-W" | b"-X") => true,
        ("perl" | "ruby", b"-I") | ("ruby", b"-r") => true,
        ("node", b"-r" | b"--require" | b"--import" | b"--loader") => true,
        ("java", b"-cp" | b"-classpath" | b"--class-path" | b"-p" | b"--module-path") => true,
        ("java", b"--add-modules" | b"--add-opens" | b"--add-exports") => true,
        ("bash", b"--rcfile" | b"--init-file") => true,
        // `bash -euo pipefail`
        (shell, [b'-', first, .., b'o' | b'O']) => is_shell(shell) && *first != b'-',
        (shell, b"-o" | b"-O") => is_shell(shell),
        _ => false,
    }
}

fn is_shell(interpreter: &str) -> bool {
    matches!(interpreter, "sh" | "bash" | "dash" | "zsh" | "ksh")
}

fn is_descriptor(path: &[u8]) -> bool {
    path.starts_with(b"/dev/fd/") || path.starts_with(b"/proc/self/fd/")
}

/// Returns the value of an option, behind it or behind its `=`.
fn option_value<'a>(
    mut arguments: impl Iterator<Item = &'a [u8]>,
    option: &[u8],
) -> Option<&'a [u8]> {
    loop {
        let argument = arguments.next()?;
        match argument.strip_prefix(option) {
            Some([]) => return arguments.next(),
            Some([b'=', value @ ..]) => return Some(value),
            _ => {}
        }
    }
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// Returns the name of a program without its version: `python` for `python3.13`.
fn family(program: &[u8]) -> &[u8] {
    let versioned = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let end = program.iter().rposition(|byte| !versioned(byte)).map_or(0, |last| last + 1);
    program.get(..end).unwrap_or(program)
}

fn without_suffix<'a>(name: &'a [u8], suffix: &[u8]) -> &'a [u8] {
    name.strip_suffix(suffix).unwrap_or(name)
}

/// Returns a name with `*` in place of what another run would call differently.
fn stable(name: &[u8]) -> String {
    let name = text(without_cargo_hash(name));
    let mut role = String::with_capacity(name.len());
    let mut after_tmp = false;
    // Words are kept or replaced as a whole; what stands between them is kept.
    for piece in pieces(&name) {
        if !piece.starts_with(is_word) {
            after_tmp &= piece == ".";
            role.push_str(piece);
            continue;
        }
        if after_tmp && is_random(piece) {
            // `mktemp` gives `tmp.Qz81kLmN0p`.
            role.push('*');
        } else if let Some(random) = piece.strip_prefix("tmp")
            && random.len() == 8
            && is_random(random)
        {
            // Python's tempfile gives `tmpk3j2h1a_`.
            role.push_str("tmp*");
        } else if is_hash(piece) {
            role.push('*');
        } else {
            push_without_numbers(&mut role, piece);
        }
        after_tmp = piece == "tmp";
    }
    role
}

/// Cuts a name into words of letters, digits and `_`, and what stands between them.
fn pieces(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns whether a word may be drawn at random: `backup` is not.
fn is_random(word: &str) -> bool {
    let unlikely = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase() || byte == b'_';
    (6..=12).contains(&word.len()) && word.bytes().any(unlikely)
}

/// Returns whether a word is a hash: hexadecimal, long, with both digits and letters.
fn is_hash(word: &str) -> bool {
    let has = |wanted: fn(&u8) -> bool| word.bytes().any(|byte| wanted(&byte));
    word.len() >= 8
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
}

/// Copies a word, with `*` in place of each number of four digits and more.
fn push_without_numbers(role: &mut String, word: &str) {
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        role.push_str(if is_number && run.len() >= 4 { "*" } else { run });
        rest = after;
    }
}

/// Removes what Cargo puts behind the name of a test: `-` and sixteen hexadecimal digits.
fn without_cargo_hash(name: &[u8]) -> &[u8] {
    let Some((stem, hash)) = name.len().checked_sub(17).and_then(|at| name.split_at_checked(at))
    else {
        return name;
    };
    match hash {
        [b'-', digits @ ..] if !stem.is_empty() && digits.iter().all(u8::is_ascii_hexdigit) => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `arguments` are separated by spaces.
    #[track_caller]
    fn check(exe: &str, arguments: &str, expected: &str) {
        let exe = (!exe.is_empty()).then_some(exe.as_bytes());
        assert_eq!(role(b"comm", exe, arguments.split(' ').map(str::as_bytes)), expected);
    }

    #[test]
    fn a_role_says_what_runs() {
        check("/usr/sbin/nginx", "nginx: worker process", "nginx");
        check("/usr/bin/cat (deleted)", "cat", "cat");
        check("", "anything", "comm");
        check("", "", "comm");
        check("/usr/bin/python3.13", "python3 /srv/app/serve.py --port 80", "serve.py");
        check(
            "/usr/bin/python3.13",
            "python3 -u -W ignore -m http.server 80",
            "python -m http.server",
        );
        check("/usr/bin/python3", "python3 -c print(1)", "python -c");
        check("/usr/bin/python3", "/usr/bin/python3 -I capture.py", "capture.py");
        check("/usr/bin/python3", "python3", "python");
        check("/usr/bin/python3", "python3 -", "python");
        check("/usr/bin/python3", "/venv/bin/python /venv/bin/pytest -x", "pytest");
        check("/bin/bash", "bash -eu ./build.sh all", "build.sh");
        check("/bin/bash", "bash -euo pipefail -c make", "bash -c");
        check("/bin/bash", "bash -o pipefail --posix test.sh", "test.sh");
        check("/bin/dash", "sh -c make", "sh -c");
        check("/bin/bash", "-bash", "bash");
        check("/bin/bash", "bash /dev/fd/63 x", "bash");
        check("/bin/bash", "bash --norc -- run", "run");
        check("/usr/bin/perl", "perl -I lib -w /usr/bin/prove t", "prove");
        check("/usr/bin/perl", "perl -e 1", "perl -c");
        check("/usr/bin/node", "node --max-old-space-size=4096 dist/server.js", "server.js");
        check(
            "/usr/lib/jvm/java-21/bin/java",
            "java -Xmx1g -cp a.jar:b.jar org.example.Main x",
            "org.example.Main",
        );
        check("/usr/bin/java", "java -jar /opt/jenkins/agent.jar", "agent.jar");
        check(
            "/root/.rustup/bin/rustc",
            "rustc --crate-name serde --edition=2021 src/lib.rs",
            "rustc serde",
        );
        check("/root/.rustup/bin/rustc", "rustc --crate-name=serde src/lib.rs", "rustc serde");
        check("/root/.cargo/bin/cargo", "cargo build --release", "cargo");
    }

    #[test]
    fn a_role_is_the_same_in_the_next_run() {
        check("/work/target/debug/deps/survival-0f3a5c7e9b1d2f40", "x", "survival");
        check("/bin/sh", "sh /tmp/tmp.Qz81kLmN0p/step.sh", "step.sh");
        check("/bin/sh", "sh /tmp/tmp.Qz81kLmN0p", "tmp.*");
        check("/usr/bin/python3", "python3 /tmp/tmpk3j2h1a_.py", "tmp*.py");
        check("/opt/worker-48213", "x", "worker-*");
        check("/opt/build_20261122.bin", "x", "build_*.bin");
        check("/opt/job-9f86d081884c7d65", "x", "job");
        check("/opt/job.9f86d081.run", "x", "job.*.run");
        // What only looks like it.
        check("/usr/bin/x86_64-linux-gnu-gcc-14", "x", "x86_64-linux-gnu-gcc-14");
        check("/usr/bin/systemd-tmpfiles", "x", "systemd-tmpfiles");
        check("/usr/bin/tmpreaper", "x", "tmpreaper");
        check("/usr/bin/deadbeef", "deadbeef", "deadbeef");
        check("/usr/bin/sha256sum", "sha256sum", "sha256sum");
    }

    #[test]
    fn any_bytes_have_a_role() {
        check("/", "", "/");
        check("\u{e9}/\u{65e5}\u{672c}1234", "", "\u{65e5}\u{672c}*");
        assert_eq!(role(b"\xff", None, []), "\\xff");
        assert_eq!(role(b"", None, []), "");
    }
}
