"""Crashes, full disks and damage: a file is the old one or the new one, and damage is noticed."""

import errno
import io
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from solutions import assert_same, made

import dfp
from dfp.results import checksum


def failing(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


class FullDisk(io.FileIO):
    """A file on a disk that fills up after 1000 bytes."""

    def write(self, data):
        super().write(bytes(data)[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS = {
    "open": ("open", failing(errno.EACCES)),
    "write": ("fdopen", lambda descriptor, mode: FullDisk(descriptor, mode)),
    "sync": ("fsync", failing(errno.EIO)),
    "replace": ("replace", failing(errno.EPERM)),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_the_old_file_and_nothing_else(fault, old, tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    before = made(seed=1)
    if old:
        before.save(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, *FAULTS[fault])
        with pytest.raises(dfp.DFPError, match=r"run\.h5: cannot be written"):
            made().save(path)
    assert [file.name for file in tmp_path.iterdir()] == (["run.h5"] if old else [])
    if old:
        assert_same(dfp.load(path), before)


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    path = tmp_path / "run.h5"
    made(seed=1).save(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            made().save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.h5"]
    assert_same(dfp.load(path), made(seed=1))


@pytest.mark.parametrize("kill_at", ["fsync", "replace"])
def test_a_killed_writer_leaves_the_old_file(kill_at, tmp_path):
    path = tmp_path / "run.h5"
    made(seed=1).save(path)
    program = f"""
import os
from solutions import made
solution = made()
os.{kill_at} = lambda *_: os.kill(os.getpid(), 9)
solution.save({str(path)!r})
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == -9
    assert_same(dfp.load(path), made(seed=1))


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
