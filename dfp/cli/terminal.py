"""What the command line owes its terminal: characters that it can show, and an end as soon as one is asked for.

Commands use ``print``: click would take a stream for ASCII to be misconfigured, and write UTF-8 to it.
"""

import codecs
import ctypes
import io
import os
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

# Seconds in which interrupted work may put its files in order, and between looks at whether it has ended.
_GRACE, _LOOK = 1.2, 0.05

# Unicode writes LAMDA.
_WORDS = {
    "∞": "inf",
    "−": "-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "√": "sqrt",
    "ḡ": "g",
    "±": "+-",
    "·": "*",
    "λ": "lambda",
    "Λ": "Lambda",
}


def spelled(text: str) -> str:
    """Return ``text`` in ASCII: Greek letters by their names, signs by their usual substitutes."""
    return "".join(letter if letter.isascii() else _word(letter) for letter in text)


def _word(letter: str) -> str:
    if letter in _WORDS:
        return _WORDS[letter]
    name = unicodedata.name(letter, "").split()
    if name[:1] == ["GREEK"]:
        return name[3].capitalize() if name[1] == "CAPITAL" else name[3].lower()
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Replace what a code page lacks (an error handler of ``codecs``)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end


def prepare() -> None:
    """Let stdout and stderr, of any code page, spell out what they lack instead of failing once all is solved."""
    codecs.register_error("dfp-spelled", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors="dfp-spelled")


def interruptible(work: Callable[[], T]) -> T:
    """Return what ``work`` does, in a thread of its own: the main thread hears Ctrl-C and SIGTERM at any time.

    Then the work is interrupted where it is in Python, and left where it is not: the process ends within two seconds
    with 128 and the signal's number, and one line on stderr.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    heard: list[int] = []
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, work()))
        except BaseException as error:  # whatever it is belongs to the caller
            outcome.append((False, error))

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    thread = threading.Thread(target=run, name="dfp", daemon=True)
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        thread.start()
        while thread.is_alive() and not heard:
            thread.join(_LOOK)
        if heard:
            _end(thread, heard[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    done, value = outcome[0]
    if not done:
        raise value
    result: T = value
    return result


def _end(thread: threading.Thread, number: int) -> NoReturn:
    """Interrupt the work, give it time to remove what it has not finished writing, and end the process."""
    lost = threading.Event()
    lost.set()
    before = sys.unraisablehook

    def hook(ignored: Any) -> None:
        if ignored.exc_type is KeyboardInterrupt:
            lost.set()
        else:
            before(ignored)

    # An interrupt in a finalizer, such as those of HDF5's handles, stops nothing but this: then there is another one.
    sys.unraisablehook = hook
    until = time.monotonic() + _GRACE
    while thread.is_alive() and time.monotonic() < until:
        if lost.is_set() and thread.ident is not None:
            lost.clear()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
            )
        thread.join(_LOOK)
    why = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    print(
        f"interrupted ({why}); what solve, compare, exit, phase and rerun have so far is at --output: --resume goes on "
        "from there.",
        file=sys.stderr,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + number)  # not sys.exit, which waits for threads that no one can stop
