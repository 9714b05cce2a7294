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


def fill(app, docname, source):
    """Put in place of marks: on the API page a table of all names, on the page of evidence that of all claims."""
    if docname == "api":
        tables = []
        for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
            names = re.findall(r"^\.\. auto(?:class|function|exception):: (\S+)$", section, re.MULTILINE)
            listed = "\n".join(f"   {name}" for name in names)
            title = section.split("\n", 1)[0]
            tables.append(f"**{title}**\n\n```{{eval-rst}}\n.. autosummary::\n   :nosignatures:\n\n{listed}\n```\n")
        source[0] = source[0].replace("<!-- summary -->", "\n".join(tables))
    if docname == "evidence":
        claims = (root / "validation" / "README.md").read_text(encoding="utf-8").split("<!-- claims -->")[1]
        # The numbers are files of the repository, which the pages do not carry.
        table = re.sub(r"\[numbers\]\(evidence/(.*?)\)", r"`\1`", claims.split("<!-- end")[0])
        source[0] = source[0].replace("<!-- claims -->", table)


def setup(app):
    app.connect("source-read", fill)
