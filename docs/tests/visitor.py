"""A visitor who has cloned the repository and types commands: a shell with a home of its own and nothing of ours in it."""

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import duckdb_cli

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("MEMSAMPLE_PROGRAMS", REPOSITORY / "target/debug"))
# So that a command that waits for ever ends the test and not the gate. A block may install packages over the network.
SECONDS_A_BLOCK = 1200

# Who types. Both have a home, /run and /tmp of their own in a mount namespace, and write over a copy of /var.
USERS = {"root": "", "ordinary": "setpriv --reuid nobody --regid nogroup --clear-groups"}


@dataclass
class Ended:
    """How a line ended: its exit code, and what it printed to stdout and stderr, in the order of printing."""

    code: int
    output: str


class Visitor:
    """A bash that runs one line after the other, as typed into one terminal."""

    def __init__(self, place: Path, user: str):
        self.place = place
        clone(place / "memsample")
        # What a reader has beside it: programs to test, and a suite of them.
        shutil.copytree(REPOSITORY / "docs/tests/project", place / "memsample", dirs_exist_ok=True)
        (place / "bin").mkdir()
        for program in ("memsample", "memsampled"):
            shutil.copy2(PROGRAMS / program, place / "bin")
        shutil.copy2(Path(duckdb_cli.__file__).with_name("duckdb"), place / "bin")
        if user == "ordinary":
            subprocess.run(["chown", "--recursive", "nobody:nogroup", place], check=True)
        enter = f"""
            mount -t tmpfs -o mode=755 visitor /home && mkdir /home/visitor && mount --bind {place} /home/visitor
            mount -t tmpfs -o mode=755 visitor /run && mount -t tmpfs -o mode=1777 visitor /tmp
            mkdir /home/var /home/work
            mount -t overlay -o lowerdir=/var,upperdir=/home/var,workdir=/home/work visitor /var
            cd /home/visitor/memsample
            exec {USERS[user]} env -i HOME=/home/visitor LANG=C.UTF-8 USER={user} TERM=dumb COLUMNS=80 \
                MEMSAMPLE_TEST_PATIENCE_MS=60000 ${{PIP_NO_COMPILE+PIP_NO_COMPILE=$PIP_NO_COMPILE}} \
                PATH=/home/visitor/bin:/home/visitor/.local/bin:/usr/local/bin:/usr/bin:/bin \
                bash --noprofile --norc
        """
        self.shell = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc", enter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def types(self, line: str) -> Ended:
        """Runs a line, or several, in the shell; what is put into the background goes on."""
        output = self.place / "output"
        output.touch()
        os.chmod(output, 0o666)
        # The line is read from a file: it may hold anything, and an unfinished quote must not swallow the rest.
        (self.place / "line").write_text(line + "\n")
        assert self.shell.stdin and self.shell.stdout
        self.shell.stdin.write(
            "source /home/visitor/line >/home/visitor/output 2>&1 </dev/null; echo ended $?\n"
        )
        self.shell.stdin.flush()
        signal.signal(signal.SIGALRM, self._give_up)
        signal.alarm(SECONDS_A_BLOCK)
        answer = self.shell.stdout.readline()
        signal.alarm(0)
        text = output.read_text(errors="replace")
        ended = re.fullmatch(r"ended (\d+)\n", answer)
        assert ended, f"the shell itself ended: {answer}{text}"
        return Ended(int(ended.group(1)), text)

    def _give_up(self, *_):
        raise TimeoutError(f"no end after {SECONDS_A_BLOCK} s: {(self.place / 'output').read_text()}")

    def leaves(self):
        """Ends the shell and what it has put into the background, as closing the terminal does."""
        assert self.shell.stdin and self.shell.stdout
        self.shell.stdin.write("trap '' TERM; kill 0; wait\n")
        self.shell.stdin.close()
        # Ends when the last process that was put into the background has ended.
        self.shell.stdout.read()
        self.shell.wait()


def clone(into: Path):
    """Copies what git knows, as it is in the work tree."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    ).stdout
    into.mkdir(parents=True)
    subprocess.run(
        ["tar", "--create", "--null", "--files-from=-", "--ignore-failed-read", "--file", into.parent / "tree"],
        cwd=REPOSITORY,
        input=names,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    subprocess.run(["tar", "--extract", "--file", into.parent / "tree", "--directory", into], check=True)
    (into.parent / "tree").unlink()
