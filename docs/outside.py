"""Find what built pages would load from other hosts: ``python docs/outside.py docs/_build/html`` fails if anything is.

Links that a reader may follow are no such thing; scripts, styles, fonts, images and frames are.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

# What a browser fetches by itself; of <link> all kinds but those that only name another page.
_LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}
_NAMED = {"canonical", "license", "author", "next", "prev", "index", "search"}
_ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        address = given.get(_LOADED.get(tag, ""), "")
        if _ELSEWHERE.match(address) and given.get("rel") not in _NAMED:
            self.found.append(address)
        self.found += _STYLE.findall(given.get("style", ""))


def outside(folder: Path) -> dict[str, list[str]]:
    """Return the addresses on other hosts that pages and style sheets of a folder load, by file."""
    found = {}
    for path in sorted([*folder.rglob("*.html"), *folder.rglob("*.css")]):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            page = _Page()
            page.feed(text)
            loaded = page.found
        else:
            loaded = _STYLE.findall(text)
        if loaded:
            found[str(path.relative_to(folder))] = loaded
    return found


if __name__ == "__main__":
    pages = outside(Path(sys.argv[1]))
    for name, addresses in pages.items():
        print(f"{name} loads {', '.join(addresses)}", file=sys.stderr)
    sys.exit(bool(pages))
