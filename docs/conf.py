"""Sphinx configuration: every page with code is a notebook, and every example of the gallery a script, run afresh."""

import os
import re
import sys
import tomllib
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sources = [str(root), str(root / "solvers")]
# For autodoc, and for the kernels that run the pages: a clone builds its documentation without being installed.
sys.path[:0] = sources
os.environ["PYTHONPATH"] = os.pathsep.join(sources)

project = "dfp"
author = "The dfp developers"
release = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = release
language = "en-GB"

# The mathematics is drawn by a MathJax that lies beside the pages: they load nothing from anywhere else.
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
]
# The gallery is written as pages, and as notebooks to take away, which are no pages.
exclude_patterns = ["_build", "jupyter_execute", "examples", "gallery", "auto_gallery/**/*.ipynb"]

html_theme = "furo"
html_title = f"dfp {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_render_markdown_format = "gfm"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Short signatures: names and defaults as written, one a line where they are many.
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "backreferences_dir": "auto_gallery/backreferences",
    "doc_module": ("dfp",),
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "matplotlib_animations": False,
    "download_all_examples": False,
    "min_reported_time": 10,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
}

# An entry of the API page: a directive with its options.
ENTRY = re.compile(r"^\.\. auto\w+:: (\S+)\n(?:   .*\n)*", re.MULTILINE)
BLOCK = re.compile(r"^```\{eval-rst\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_api_pages(app):
    """Write a page for every entry of the API page, with the examples of the gallery that use the name."""
    folder, used = Path(app.srcdir) / "auto_api", Path(app.srcdir) / "auto_gallery" / "backreferences"
    folder.mkdir(exist_ok=True)
    wanted = {}
    for entry in ENTRY.finditer((Path(app.srcdir) / "api.md").read_text(encoding="utf-8")):
        name = entry[1]
        text = f"{name}\n{'=' * len(name)}\n\n{entry[0]}"
        examples = used / f"{name}.examples"
        # What nearly all examples use, such as SGD, would show the gallery again.
        if examples.exists() and 0 < examples.read_text(encoding="utf-8").count("  :doc:`") <= 12:
            text += f"\n.. rubric:: In the gallery\n\n.. minigallery:: {name}\n"
        wanted[f"{name}.rst"] = text
    for path in folder.glob("*.rst"):
        if path.name not in wanted:
            path.unlink()
    for file, text in wanted.items():
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def fill(app, docname, source):
    """Make the entries of the API page tables that lead to a page each, and put the table of claims on its page."""
    if docname == "api":
        names = [entry[1] for entry in ENTRY.finditer(source[0])]

        def table(block):
            listed = "\n".join(f"   {entry[1]}" for entry in ENTRY.finditer(block[1]))
            return f"```{{eval-rst}}\n.. autosummary::\n   :nosignatures:\n\n{listed}\n```"

        pages = "\n".join(f"auto_api/{name}" for name in names)
        source[0] = BLOCK.sub(table, source[0]) + f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
    if docname == "evidence":
        claims = (root / "validation" / "README.md").read_text(encoding="utf-8").split("<!-- claims -->")[1]
        # The numbers are files of the repository, which the pages do not carry.
        table_of_claims = re.sub(r"\[numbers\]\(evidence/(.*?)\)", r"`\1`", claims.split("<!-- end")[0])
        source[0] = source[0].replace("<!-- claims -->", table_of_claims)


def setup(app):
    app.connect("builder-inited", write_api_pages)
    app.connect("source-read", fill)
