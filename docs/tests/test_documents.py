"""Every command that a document shows is run, by root and by an ordinary user, and prints what the document says."""

from unittest import SkipTest

import pytest
from sybil import Sybil
from sybil.example import NotEvaluated, SybilFailure

import blocks
from visitor import REPOSITORY, USERS, Visitor

DOCUMENTS = ["README.md", *(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md")))]
DOCUMENTS += ["clients/pytest-memsample/README.md", "clients/nextest/README.md"]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_document(name, user, place):
    document = Sybil(parsers=blocks.PARSERS).parse(REPOSITORY / name)
    examples = list(document.examples())
    if not any(language in ("sh", "console", "sql") for language, *_ in (e.parsed for e in examples)):
        user = None
    visitor = Visitor(place, user) if user else None
    document.namespace.update(visitor=visitor, user=user)
    wrong = []
    try:
        for example in examples:
            try:
                example.evaluate()
            except (SkipTest, NotEvaluated):
                pass
            except SybilFailure as failure:
                wrong.append(f"{name}:{example.line}: {failure.result}")
    finally:
        if visitor:
            visitor.leaves()
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_code_escapes(name):
    """Blocks are fenced: one that is only indented would not be run."""
    fenced, previous = False, ""
    for number, line in enumerate((REPOSITORY / name).read_text().splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif line.startswith("    ") and not fenced:
            assert previous.strip(), f"{name}:{number}: an indented block"
        previous = line
