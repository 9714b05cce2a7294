"""Records of finished cases: one JSON file each, with pictures beside it; all numbers together as HDF5."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfp.results.schema import versions
from validation.case import Case, Picture, Result, Verdict

ROOT = Path(__file__).parent.parent
EVIDENCE = Path(__file__).parent / "evidence"


@dataclass(frozen=True)
class Record:
    """What is kept of a finished case: ``content`` as in its JSON file, and its pictures (caption, file)."""

    case: Case
    content: dict[str, Any]
    pictures: list[tuple[str, Path]]

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts."""
        return [Verdict(**stored) for stored in self.content["verdicts"]]

    @property
    def ok(self) -> bool:
        """Whether the case passed."""
        return bool(self.content["passed"])


def digest(case: Case, quick: bool) -> str:
    """Return a fingerprint of the mode and of all code a result depends on: the case, the suite and the library."""
    own = Path(case.run.__code__.co_filename)
    folders = [ROOT / "dfp", ROOT / "solvers", Path(__file__).parent]
    files = {p for folder in folders for p in folder.rglob("*.py") if "cases" not in p.parts}
    seen = hashlib.sha256(f"{case.name} {quick} {sorted(versions().items())}".encode())
    for path in sorted(files | {own}):
        seen.update(path.name.encode() + path.read_bytes())
    return seen.hexdigest()


def store(case: Case, result: Result, out: Path, *, mark: str, quick: bool, seconds: float) -> Record:
    """Write pictures, then the record (so that a record is never without its pictures); return the record."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = [(picture.caption, _draw(picture, case, out)) for picture in result.pictures]
    content = {
        "case": case.name,
        "claim": case.claim,
        "mode": "quick" if quick else "full",
        "digest": mark,
        "passed": result.ok,
        "skipped": result.skipped,
        "seconds": round(seconds, 1),
        "verdicts": [asdict(verdict) for verdict in result.verdicts],
        "tables": [asdict(table) for table in result.tables],
        "notes": list(result.notes),
        "numbers": result.numbers,
        "pictures": [[caption, path.name] for caption, path in pictures],
        "versions": versions(),
    }
    content = plain(content)
    temporary = out / f"{case.stem}.json.part"
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(out / f"{case.stem}.json")
    return Record(case, content, pictures)


def restore(case: Case, out: Path, mark: str) -> Record | None:
    """Return the kept record if its fingerprint is ``mark``, it was not skipped and its pictures are there."""
    try:
        content = json.loads((out / f"{case.stem}.json").read_text(encoding="utf-8"))
        pictures = [(caption, out / name) for caption, name in content["pictures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    complete = content.get("digest") == mark and not content["skipped"] and all(p.exists() for _, p in pictures)
    return Record(case, content, pictures) if complete else None


def _draw(picture: Picture, case: Case, out: Path) -> Path:
    path = out / f"{case.stem}{'_' if picture.name else ''}{picture.name}{picture.suffix}"
    if isinstance(picture.figure, bytes):
        path.write_bytes(picture.figure)
    else:
        picture.figure.savefig(path, dpi=110)
    return path


def plain(value: Any) -> Any:
    """Return ``value`` as JSON holds it: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_numbers(records: Iterable[Record], path: Path) -> None:
    """Write the numbers of all cases into one HDF5 file: a group for each case, null as NaN."""
    import h5py

    with h5py.File(path, "w") as file:
        for record in records:
            group = file.create_group(record.case.name)
            for name in ("claim", "source", "tolerance", "control"):
                group.attrs[name] = getattr(record.case, name)
            group.attrs["passed"], group.attrs["mode"] = record.ok, record.content["mode"]
            _fill(group, record.content["numbers"])
            verdicts = group.create_dataset(
                "verdicts", data=[_line(v) for v in record.verdicts], dtype=h5py.string_dtype()
            )
            verdicts.attrs["columns"] = ["problem", "subject", "quantity", "promised", "measured", "as expected"]


def _line(verdict: Verdict) -> list[str]:
    return [*verdict.key, verdict.promised, verdict.measured, str(verdict.as_expected)]


def _fill(group: Any, numbers: Mapping[str, Any]) -> None:
    for name, value in numbers.items():
        safe = name.replace("/", "∕")
        if isinstance(value, Mapping):
            _fill(group.create_group(safe), value)
        elif isinstance(value, str):
            group.attrs[safe] = value
        else:
            entries = np.array(value, dtype=object)
            group[safe] = np.where(entries == None, np.nan, entries).astype(float)  # noqa: E711 (entry by entry)


def write_evidence(records: Iterable[Record], folder: Path = EVIDENCE) -> None:
    """Write what is committed of a run: verdicts with their numbers, a small JSON file for each case."""
    folder.mkdir(exist_ok=True)
    for record in records:
        if record.content["skipped"]:
            continue
        kept = {name: record.content[name] for name in ("case", "claim", "mode", "passed", "seconds", "versions")}
        kept["verdicts"] = [
            {k: _short(v) for k, v in asdict(verdict).items() if v is not None and k != "deviation"}
            for verdict in record.verdicts
        ]
        text = json.dumps(plain(kept), indent=1, ensure_ascii=False)
        (folder / f"{record.case.stem}.json").write_text(text + "\n", encoding="utf-8")


def _short(value: Any) -> Any:
    return float(f"{value:.9g}") if isinstance(value, float) else value
