"""The command line: its commands, and what it owes the terminal."""

from dfp.cli.commands import app as app
