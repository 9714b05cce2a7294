"""Sphinx configuration: every page with code is a notebook, and every example of the gallery a script, run afresh."""

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
exclude_patterns = ["_build", "jupyter_execute", "examples", "gallery"]

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
