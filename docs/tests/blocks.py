"""The code blocks of a document, and what holds for each language.

| block | what is done |
|---|---|
| `console` | each line after `$ ` is typed; what follows it is what it prints. A number stands for any number, a size for any size, range, bound or `-`, what is in parentheses for any remark or none, `[..]` for a part of a line, `...` for lines; `? 3` is an exit code other than 0 |
| `sh` | typed as a whole; must end with exit code 0 |
| `sql` | given to `duckdb`, which keeps its views until the end of the document |
| `toml` | read; where its first line is a comment with a file's name, written to that file |
| `json` | read |
| `text`, `rust`, `python` | output, drawings, and code that its own tests compile |

`<!-- skip: next "why" -->` leaves the next block out, and `<!--- prepare … -->` types lines that a reader need not see.
"""

import json
import re
import tomllib

from sybil import Document, Example, Region
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

FENCED = RawFencedCodeBlockLexer(re.compile(r"(?P<language>\w*)[^\n]*\n"))
PREPARED = re.compile(r"^<!--- prepare\n(.*?)\n-->$", re.MULTILINE | re.DOTALL)
NOT_RUN = {"text", "rust", "python", "yaml", "groovy"}


def fenced(document: Document):
    for region in FENCED(document):
        region.parsed = (region.lexemes["language"], region.lexemes["source"])
        region.evaluator = evaluate
        yield region


def prepared(document: Document):
    for match in PREPARED.finditer(document.text):
        yield Region(match.start(), match.end(), ("sh", match.group(1)), evaluate)


PARSERS = [fenced, prepared, SkipParser()]


def evaluate(example: Example) -> str | None:
    """Runs one block; returns what is wrong, or None."""
    language, source = example.parsed
    visitor = example.namespace["visitor"]
    match language:
        case "console":
            return console(visitor, source)
        case "sh":
            ended = visitor.types(f"set -e\n{source}\nset +e")
            return f"exit code {ended.code}\n{source}{ended.output}" if ended.code else None
        case "sql":
            ended = visitor.types(f"duckdb -bail ~/queries.duckdb <<'END OF SQL'\n{source.rstrip().rstrip(';')};\nEND OF SQL")
            return f"exit code {ended.code}\n{source}{ended.output}" if ended.code else None
        case "toml":
            tomllib.loads(source)
            name = re.match(r"# (\S+\.toml)\b", source)
            if name and not name.group(1).startswith("/"):
                visitor.types(f"cat > {name.group(1)} <<'END OF FILE'\n{source}END OF FILE")
        case "json":
            json.loads(source)
        case _ if language not in NOT_RUN:
            return f"a block of an unknown language: {language!r}"
    return None


def console(visitor, source: str) -> str | None:
    """Types each command of a transcript, and compares what it prints."""
    for command, code, expected in commands(source):
        ended = visitor.types(command)
        if ended.code != code:
            return f"$ {command}\nexit code {ended.code}, not {code}\n{ended.output}"
        if expected and not re.fullmatch(pattern(expected), ended.output.rstrip("\n"), re.DOTALL):
            return f"$ {command}\nexpected:\n{expected}\nprinted:\n{ended.output}"
    return None


def commands(source: str):
    """Yields each command of a transcript, its exit code, and what it prints."""
    for part in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        command = [lines.pop(0)]
        while lines and lines[0].startswith("> "):
            command.append(lines.pop(0)[2:])
        code = 0
        if lines and re.fullmatch(r"\? \d+", lines[0]):
            code = int(lines.pop(0)[2:])
        yield "\n".join(command), code, "\n".join(lines)


NUMBER = r"\d+(?:\.\d+)?"
SIZE = rf"{NUMBER}\ (?:B|[KMGT]iB)"
# What stands for any of its kind, and what is matched then; the first that fits. Blanks are escaped where they are one.
KINDS = [
    (rf"≥?{SIZE}(?:\ to\ {SIZE})?", rf"(?:-|≥?{SIZE}(?:\ to\ {SIZE})?)".replace("\\ ", " ")),
    (r"\([^()\n]*\)", r"(?:\([^()\n]*\))?"),
    (rf"{NUMBER}\ (?:us|ms|s|min)\b", rf"{NUMBER} (?:us|ms|s|min)"),
    (NUMBER, NUMBER),
    (r"\[\.\.\]", r"[^\n]*?"),
    # The widths of columns follow what is in them.
    (r"\ +", " *"),
]


def pattern(expected: str) -> str:
    """What is printed, as a regular expression."""
    any_kind = re.compile("|".join(f"({kind})" for kind, _ in KINDS))
    lines = []
    for line in expected.split("\n"):
        if line.strip() == "...":
            lines.append(r"(?:[^\n]*\n)*?")
            continue
        words, end = "", 0
        for found in any_kind.finditer(line):
            words += re.escape(line[end : found.start()]) + KINDS[found.lastindex - 1][1]
            end = found.end()
        lines.append(words + re.escape(line[end:]) + r" *\n")
    return "".join(lines).removesuffix(r"\n") + r"\n*"
