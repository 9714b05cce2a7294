"""The tables of solvers say what the classes say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPECIFICATION = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
tables = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(tables)


@pytest.mark.parametrize(("page", "name"), tables.PLACES)
def test_a_page_has_the_table_that_the_classes_make(page, name):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert tables.filled(text, name, tables.PLACES[page, name]()) == text, "run make tables"


def test_another_table_is_seen():
    """Negative control."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tables.filled(text, "equations", ["| another |"]) != text
    with pytest.raises(SystemExit, match="0 places"):
        tables.filled(text, "nothing", [])
