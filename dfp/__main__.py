"""``python -m dfp`` is the command ``dfp``."""

from dfp.cli import app

app(prog_name="dfp")
