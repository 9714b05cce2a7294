"""What the command line owes its terminal: characters that it can show."""

import codecs
import io
import sys
import unicodedata

_WORDS = {"∞": "inf", "−": "-", "≤": "<=", "≥": ">=", "→": "->", "√": "sqrt", "ḡ": "g", "±": "+-", "·": "*"}


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
