"""Sphinx configuration: every page with code is a notebook, run afresh at each build."""

import os
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

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "jupyter_execute", "examples"]

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
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
