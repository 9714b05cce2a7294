"""Names that cannot be written or read are told, and damage is noticed."""

import os

import h5py
import numpy as np
import pytest
from solutions import assert_same, made

import dfp
from dfp.results import checksum


def test_unwritable_targets_are_named(tmp_path):
    with pytest.raises(dfp.DFPError, match=r"missing.*does not exist; create it"):
        made().save(tmp_path / "missing" / "run.h5")
    with pytest.raises(dfp.DFPError, match="not a regular file"):
        made().save(tmp_path)
    with pytest.raises(dfp.DFPError, match="not a regular file"):
        made().save("/dev/null")
    with pytest.raises(dfp.DFPError, match="cannot be written"):
        made().save(tmp_path / ("x" * 300))
    with pytest.raises(dfp.DFPError, match="name of a file"):
        made().save(b"run.h5")
    assert not any(tmp_path.iterdir())


def test_a_symbolic_link_stays_and_permissions_follow_the_umask(tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "real.h5")
    made().save(tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    assert_same(dfp.load(tmp_path / "real.h5"), made())
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "real.h5").stat().st_mode & 0o777 == 0o666 & ~umask


def test_missing_files_are_named(tmp_path):
    for path in (tmp_path / "none.h5", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(dfp.DFPError, match=str(path)) as caught:
            dfp.load(path)
        assert not isinstance(caught.value, dfp.FileFormatError)


def test_files_of_others_are_refused(tmp_path):
    path = tmp_path / "other.h5"
    path.write_bytes(b"")
    with pytest.raises(dfp.FileFormatError, match=r"other\.h5"):
        dfp.load(path)
    path.write_bytes(b"step,mean\n" * 100)
    with pytest.raises(dfp.FileFormatError, match=r"other\.h5"):
        dfp.load(path)
    with h5py.File(path, "w") as file:
        file["step"] = np.arange(3)
    with pytest.raises(dfp.FileFormatError, match=r"other\.h5"):
        dfp.load(path)
    checksum.write(path, b"sealed, and not HDF5")
    with pytest.raises(dfp.FileFormatError, match=r"other\.h5"):
        dfp.load(path)


def test_every_kind_of_damage_is_noticed(tmp_path):
    path = tmp_path / "run.h5"
    made(1).save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    bad = [good[:n] for n in rng.integers(0, len(good), 200)] + [good[:-1], good + b"\0", good[:-48], good[1:]]
    for place in [*rng.integers(0, len(good), 300), *range(len(good) - 48, len(good))]:
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(rng.integers(8))
        bad.append(bytes(flipped))
    for start in rng.integers(0, len(good) - 600, 100):
        zeroed = good[:start] + bytes(512) + good[start + 512 :]
        if zeroed != good:
            bad.append(zeroed)
    for content in bad:
        path.write_bytes(content)
        with pytest.raises(dfp.FileFormatError, match=r"run\.h5"):
            dfp.load(path)
    path.write_bytes(good)
    assert_same(dfp.load(path), made(1))


def test_a_file_that_has_no_room_in_memory_is_refused_before_it_is_read(tmp_path):
    path, size = tmp_path / "run.h5", 10**13
    try:
        with path.open("wb") as file:
            file.truncate(size)  # a hole: it takes no room on the disk
            file.seek(size)
            file.write(checksum._SEAL.pack(checksum._MAGIC, size, bytes(32)))
    except OSError:
        pytest.skip("this file system takes no such file")
    with pytest.raises(dfp.DFPError, match=r"has 1e\+04 GB, more than there is memory"):
        dfp.load(path)
