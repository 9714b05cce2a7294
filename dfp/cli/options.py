"""What several commands share: options, checks of what they write, the choice of an equation."""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dfp.errors import DFPError

FIGURES = (".png", ".pdf", ".svg")
NUMBERS = "NUMBERS"
"""The metavar of options that take several numbers, with commas between."""
# One word of such, or what is left of one that was cut at its spaces.
_NUMBERS = re.compile(r"(,?[-+]?(\d+\.?\d*|\.\d+|inf)(e[-+]?\d+)?,?)+")

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="Configuration: landscape, SGD, state, equations.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist already.")]
Which = Annotated[
    str | None, typer.Option("--equation", metavar="NAME", help="Which [[equation]], if there are several.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="RESULT.h5", help="HDF5 file for the result."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from what an interrupted run has left at --output.")]
Table = Annotated[
    Path | None,
    typer.Option("--table", metavar="FILE.csv", help="CSV file of all numbers, as to_dataframe() has them."),
]
Width = Annotated[
    float | None, typer.Option(help="Inches of the figure: 3.3 is a column of a paper, 7 a page; its own if left out.")
]
Style = Annotated[str | None, typer.Option(help="Style of the figure: paper, or one of matplotlib's.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def check_output(option: str, path: Path, suffixes: tuple[str, ...], force: bool, *, resumes: bool = False) -> None:
    """Refuse a file that could not be written at the end, or that would be lost; ``resumes`` if --resume goes on."""
    folder = path.absolute().parent
    if path.suffix.lower() not in suffixes:
        raise DFPError(f"{option}={path}: must end in {' or '.join(suffixes)}; give e.g. run{suffixes[0]}.")
    if not folder.is_dir():
        raise DFPError(f"{option}={path}: there is no directory {folder}; create it or choose another.")
    if path.exists() and not path.is_file():
        raise DFPError(f"{option}={path}: is not a regular file; choose another name.")
    if path.exists() and not force:
        kept = "--resume to go on if a run was interrupted, " if resumes else ""
        raise DFPError(f"{option}={path}: exists already; give {kept}--force to replace it, or another name.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DFPError(f"{option}={path}: the directory {folder} is not writable; choose another.")


def check_table(path: Path | None, force: bool) -> None:
    """Refuse a table that could not be written, or would be lost."""
    if path is not None:
        check_output("--table", path, (".csv",), force)


def tabulate(result: Any, path: Path | None) -> None:
    """Write the table of a result where that was asked for, and say so."""
    if path is not None:
        write_table(result, path)
        print(f"written to {path}")


def write_table(result: Any, path: Path) -> None:
    """Write the table of a result, or of several by name."""
    from dfp.results.kinds import table
    from dfp.results.tables import comma_separated, together
    from dfp.results.writing import write

    found = together({name: table(one) for name, one in result.items()}) if isinstance(result, dict) else table(result)
    write(path, comma_separated(found))


def check_look(figure: Path | None, width: float | None, style: str | None) -> None:
    """Refuse a width or style that no figure can have, before anything is solved for it."""
    given = {"--width": width, "--style": style}
    for option, value in given.items():
        if value is not None and figure is None:
            raise DFPError(
                f"{option}={value}: there is no figure that it is of; give --figure as well, or leave it out."
            )
    if width is not None or style is not None:  # Matplotlib is imported where it is used
        from dfp.results import page

        page.check_look(width, style)


def check_words(command: Any, words: list[str]) -> None:
    """Refuse an option that is given twice, of which click would keep the last, and numbers apart from each other."""
    if hasattr(command, "commands"):
        inner = command.commands.get(words[0]) if words else None
        return None if inner is None else check_words(inner, words[1:])
    known = {name: one for one in command.params for name in one.opts if name.startswith("-")}
    seen, left = set[str](), list(words)
    while left and left[0] != "--":
        word = left.pop(0)
        name, joined, given = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        option = known.get(name)
        if option is None or option.is_flag or option.multiple:
            continue
        if option.name in seen:
            raise DFPError(f"{name}: is given twice, and takes one value; keep one of the two.")
        seen.add(option.name)
        values, left = ([given], left) if joined else (left[:1], left[1:])
        while option.metavar == NUMBERS and left and re.fullmatch(_NUMBERS, left[0]):
            values.append(left.pop(0))
        if len(values) > 1:
            raise DFPError(
                f"{name} {' '.join(values)}: several numbers are one word, with commas between and no spaces; write "
                f"{name}={','.join(value.strip(',') for value in values)}."
            )


def keep(result: Any, output: Path | None) -> None:
    """Write a result where that was asked for, and say so."""
    if output is not None:
        result.save(output)
        print(f"written to {output}")


def chosen(names: list[str], wanted: str | None) -> int:
    """Return the index of the equation to solve."""
    listed = ", ".join(map(repr, names))
    if wanted is None:
        if len(names) > 1:
            raise DFPError(f"equation: there are {listed}; choose one with --equation NAME, or use dfp compare.")
        return 0
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "give one of these."
        raise DFPError(f"--equation={wanted!r}: must be one of {listed}; {hint}")
    return names.index(wanted)


def parameters(result: Any) -> list[str]:
    """Return the line that says what the numbers of a result are of, where these have names."""
    from dfp.problem.parameters import listed, told

    return [f"parameters   {listed(result.parameters)}"] if told(result.parameters) else []


def shown(values: Any) -> str:
    """Return an array as commands print it, further lines indented like the first."""
    import numpy as np

    return np.array2string(values, precision=5, threshold=20).replace("\n", "\n" + " " * 13)
