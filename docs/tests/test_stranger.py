"""What a stranger types ends in what was meant, or in an error whose advice works when it is followed."""

import re
import tomllib
from pathlib import Path

import pytest

from visitor import USERS, Visitor

STEPS = tomllib.loads(Path(__file__).with_name("stranger.toml").read_text())["step"]


@pytest.mark.parametrize("user", USERS)
def test_stranger(user, place):
    visitor = Visitor(place, user)
    wrong = []
    try:
        for step in STEPS:
            ended = visitor.types(step["types"])
            seen = f"$ {step['types']}\n{ended.output}"
            if ended.code != step.get("code", 0):
                wrong.append(f"{seen}exit code {ended.code}, not {step.get('code', 0)}")
            elif not re.search(step.get("says", ""), ended.output, re.MULTILINE):
                wrong.append(f"{seen}does not say {step['says']!r}")
            elif advice := step.get("advice"):
                if advice not in ended.output:
                    wrong.append(f"{seen}does not advise `{advice}`")
                elif code := (followed := visitor.types(advice)).code:
                    wrong.append(f"{seen}$ {advice}\n{followed.output}exit code {code}: bad advice")
    finally:
        visitor.leaves()
    assert not wrong, f"{len(wrong)} of {len(STEPS)}:\n\n" + "\n\n".join(wrong)
