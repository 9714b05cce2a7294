"""The pages of the documentation: their code runs, their links lead somewhere, and the API page misses no name."""

import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

import dfp

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
# ```{code-cell} python3, options, and the code up to the closing fence.
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def cells(page):
    """Return the code of the cells of a page, without cell options and notebook commands."""
    text = page.read_text(encoding="utf-8")
    return ["\n".join(line for line in code.split("\n") if line[:1] not in (":", "%")) for code in CELL.findall(text)]


def anchors(page):
    """Return the names that links into a page may use: those of its headings, and explicit ones."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", [page for page in PAGES if cells(page)], ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """Cells run in order in one namespace; fewer trajectories than on the page, for speed."""
    import matplotlib

    if page.stem == "networks":
        pytest.importorskip("torch", reason="the extra dfp[networks] is not installed")
    matplotlib.use("agg")
    if (DOCS / "examples").is_dir():
        shutil.copytree(DOCS / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__page__"}
    # Pages set how arrays are printed, which must not outlive them.
    with np.printoptions():
        for number, code in enumerate(cells(page), start=1):
            # A tenth of the trajectories shows as well that the code runs.
            exec(compile(code.replace("00_000", "0_000"), f"{page.name}, cell {number}", "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if cells(page)], ids=lambda page: page.stem)
def test_figures_of_a_page_are_shown(page):
    """Without either line a figure would appear as its name."""
    text = page.read_text(encoding="utf-8")
    assert ".plot(" not in text or "%matplotlib inline" in text or "import matplotlib.pyplot" in text


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_internal_links_exist(page):
    """Relative links name a file, and an anchor in it if they have one."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = page if not name else (page.parent / name)
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}"


def test_api_page_has_every_public_name():
    """A new public name needs a place on the API page."""
    listed = set(re.findall(r"dfp\.(\w+)\n", (DOCS / "api.md").read_text(encoding="utf-8")))
    assert not set(dfp.__all__) - listed


SUBSTITUTION = re.compile(r"\|\S(?:[^|\n]*\S)?\|")


def documented():
    """Yield names and docstrings of everything public, members of classes included."""
    for name in dfp.__all__:
        public = getattr(dfp, name)
        yield name, public.__doc__ or ""
        for member in vars(public) if isinstance(public, type) else ():
            if not member.startswith("_"):
                yield f"{name}.{member}", getattr(getattr(public, member), "__doc__", None) or ""


def test_docstrings_have_no_bars_that_sphinx_would_replace():
    """|x| outside of code is a substitution in reStructuredText, and an error in the API page."""
    texts = {name: re.sub(r"``.*?``", "", text, flags=re.DOTALL) for name, text in documented()}
    assert not {name for name, text in texts.items() if SUBSTITUTION.search(text)}
    assert SUBSTITUTION.search("where |drift| is large")


def test_what_pages_would_load_from_other_hosts_is_noticed(tmp_path):
    """``make docs`` ends with this check: links to elsewhere are fine; scripts, styles and images are not."""
    outside = runpy.run_path(str(DOCS / "outside.py"))["outside"]
    page = tmp_path / "page.html"
    page.write_text('<a href="https://arxiv.org">x</a><script src="_static/a.js"></script><img src="data:,">', "utf-8")
    assert outside(tmp_path) == {}
    page.write_text('<script async src="https://cdn.example/mathjax.js"></script><img src=//x.example/y.png>', "utf-8")
    (tmp_path / "style.css").write_text("@import url('https://fonts.example/a.css');", encoding="utf-8")
    assert outside(tmp_path) == {
        "page.html": ["https://cdn.example/mathjax.js", "//x.example/y.png"],
        "style.css": ["https://fonts.example/a.css"],
    }


def test_a_broken_page_is_noticed(tmp_path):
    """Negative control: the extraction finds code that fails, and an anchor that is missing."""
    page = tmp_path / "page.md"
    page.write_text("# One\n\n```{code-cell} python3\n:tags: [x]\n%matplotlib inline\n1 / 0\n```\n", encoding="utf-8")
    (code,) = cells(page)
    with pytest.raises(ZeroDivisionError):
        exec(code, {})
    assert anchors(page) == {"one"}
