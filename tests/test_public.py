"""Public names and parameters stay: ``data/public.json`` lists those of 0.1.0 (``python -m tests.public``)."""

import json
from pathlib import Path

import pytest

from tests.public import described

BEFORE = json.loads((Path(__file__).parent / "data" / "public.json").read_text("utf-8"))
NOW = described()


def missing(before, after):
    """What calls written for ``before`` would miss: parameters that are gone or moved, and new ones without default."""
    positional = [text for text in before if not text.startswith("*")]
    lost = [] if after[: len(positional)] == positional else ["positional parameters"]
    lost += [text for text in before if text.startswith("*") and text not in after]
    return lost + [text for text in after if text not in before and "=" not in text and not text.startswith("**")]


@pytest.mark.parametrize("name", BEFORE)
def test_a_public_name_stays_and_takes_what_it_took(name):
    assert name in NOW
    if BEFORE[name] is not None:
        assert NOW[name] is not None
        assert not missing(BEFORE[name], NOW[name]), NOW[name]


def test_what_would_break_callers_is_found():
    """Negative controls: a parameter lost, moved, made keyword-only, with another default, or new and required."""
    before = ["equation", "steps=3", "* tolerance=None"]
    assert not missing(before, [*before, "* more=1"])
    for after in (before[1:], before[::-1], ["equation", "* steps=3", "* tolerance=None"], [*before[:2], "more"],
                  ["equation", "steps=4", "* tolerance=None"], [*before, "* more"]):  # fmt: skip
        assert missing(before, after)
