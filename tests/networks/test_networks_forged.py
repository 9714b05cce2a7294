"""Files of networks that somebody forged: refused before anything in them is read."""

import h5py
import numpy as np
import pytest

import dfp
from dfp.networks import files


def crafted(path, forge):
    """Write a good file, and hand it to ``forge`` open."""
    files.write(path, "runs", {"losses": np.arange(6.0), "inner/kept": np.array([True, False])}, {"seed": 3})
    with h5py.File(path, "r+") as file:
        forge(file)
    return path


def flagged(file, name, **options):
    file.create_dataset(name, **options).attrs["boolean"] = False


FORGERIES = {
    "link": lambda f: f.__setitem__("a", h5py.ExternalLink("/etc/hostname", "/")),
    "soft link": lambda f: f.__setitem__("inner/a", h5py.SoftLink("/inner")),
    "external": lambda f: flagged(f, "a", shape=(4,), dtype="i1", external=[("/etc/hostname", 0, 4)]),
    "huge": lambda f: flagged(f, "a", shape=(10**12,), dtype="f8", chunks=(10**6,)),
    "twice": lambda f: [flagged(f, f"a{i}", shape=(10**6,), dtype="f8", chunks=(10**6,)) for i in range(3)],
    "text": lambda f: flagged(f, "a", data=["x", "y"], dtype=h5py.string_dtype()),
    "filter": lambda f: flagged(f, "a", data=np.arange(9), chunks=(9,), compression="lzf"),
    "cycle": lambda f: f["inner"].__setitem__("again", f["inner"]),
    "future": lambda f: f.attrs.__setitem__("format", 2),
    "odd format": lambda f: f.attrs.__setitem__("format", "1"),
    "no kind": lambda f: f.attrs.__delitem__("kind"),
    "list": lambda f: f.attrs.__setitem__("attributes", "[1]"),
    "no flag": lambda f: f.create_dataset("a", data=[1.0]),
    "odd flag": lambda f: f.create_dataset("a", data=[1.0]).attrs.__setitem__("boolean", [True, True]),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_crafted_files_are_refused(forge, tmp_path):
    with pytest.raises(dfp.FileFormatError, match="path="):
        files.read(crafted(tmp_path / "a.h5", forge))


def test_damaged_bytes_are_refused_or_change_nothing(tmp_path):
    """A sample of single bytes; arrays have checksums, so what is read of them is what was written."""
    path = crafted(tmp_path / "a.h5", lambda file: None)
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for at in rng.integers(0, len(good), 200):
        bad = bytearray(good)
        bad[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bad)
        try:
            kind, record = files.read(path)
        except dfp.FileFormatError:
            refused += 1
        else:
            assert isinstance(kind, str) and isinstance(record, dict)
    # The control: damage is seen at all.
    assert refused > 0


def test_what_is_written_is_read(tmp_path):
    kind, record = files.read(crafted(tmp_path / "a.h5", lambda file: None))
    assert kind == "runs" and record["seed"] == 3
    np.testing.assert_array_equal(record["losses"], np.arange(6.0))
    assert record["inner/kept"].dtype == bool
