"""Whatever is written is written whole or not at all, whichever call fails and whichever signal comes."""

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from written import CALLS, ERRORS, SIGNALS, WRITERS

import dfp
from dfp.results import writing

ROOT = Path(__file__).parents[1]


def faulty(monkeypatch, call, number, folder):
    """Let one kind of call fail for files in ``folder``."""

    def concerns(arguments):
        return any(str(folder) in str(argument) for argument in arguments)

    real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "fdopen")}

    def fail(name):
        def call_or_fail(*arguments, **settings):
            if concerns(arguments) or name == "fsync":
                raise OSError(number, os.strerror(number))
            return real[name](*arguments, **settings)

        return call_or_fail

    class Full(io.FileIO):
        def write(self, data):
            super().write(bytes(data)[:10])
            raise OSError(number, os.strerror(number))

    if call == "write":
        monkeypatch.setattr(os, "fdopen", lambda descriptor, mode: Full(descriptor, mode))
    else:
        monkeypatch.setattr(os, call, fail(call))


@pytest.mark.parametrize("name", WRITERS)
def test_a_fault_in_any_call_leaves_the_old_file_or_none(name, tmp_path, monkeypatch):
    """Errors in each of four calls, with and without an older file: all five for a solution, one each for the rest."""
    path = tmp_path / name
    for place, call in enumerate(CALLS):
        for fault in ERRORS if name == "solution.h5" else ERRORS[place : place + 1]:
            for old in (b"old", None) if name != "checkpoint.npz" else (None,):
                if old is not None:
                    path.write_bytes(old)
                with monkeypatch.context() as patch:
                    faulty(patch, call, getattr(errno, fault), tmp_path)
                    with pytest.raises(dfp.DFPError, match="cannot be written") as caught:
                        WRITERS[name](path)
                assert os.strerror(getattr(errno, fault)) in " ".join(str(caught.value).split())
                assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ({name: old} if old else {})
                path.unlink(missing_ok=True)
    WRITERS[name](path)  # negative control: without a fault there is a new file, and nothing else
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert path.stat().st_size > 10


# A child of this process for each signal and each call, in which the signal comes.
CHILDREN = """
import os, signal, sys
from pathlib import Path
from dfp.results import writing
path = Path(sys.argv[1])
real = {name: getattr(os, name) for name in ("open", "fsync", "replace")}
class Interrupted:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def write(self, data): self.file.write(data); os.kill(os.getpid(), number)
    def flush(self): self.file.flush()
    def fileno(self): return self.file.fileno()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
    for call in ("open", "write", "fsync", "replace"):
        path.write_bytes(b"old")
        child = os.fork()
        if child == 0:
            def hit(*arguments, call=call, number=number):
                result = real[call](*arguments)
                os.kill(os.getpid(), number)
                return result
            if call == "write":
                fdopen = os.fdopen
                os.fdopen = lambda *arguments: Interrupted(fdopen(*arguments))
            else:
                setattr(os, call, hit)
            try:
                writing.write(path, b"new" * 1000)
            except KeyboardInterrupt:
                os._exit(130)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        content = {b"old": "old", b"new" * 1000: "new"}.get(path.read_bytes(), "broken")
        rest = [file for file in path.parent.iterdir() if file != path]
        print(signal.Signals(number).name, call, os.waitstatus_to_exitcode(status), content, len(rest))
        for file in rest:
            file.unlink()
"""


def test_a_signal_in_any_call_ends_the_process_as_it_would_have_and_leaves_a_whole_file(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILDREN, str(tmp_path / "run.h5")]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = {tuple(line.split()[:2]): line.split()[2:] for line in printed.splitlines()}
    assert len(found) == len(SIGNALS) * len(CALLS)
    for (name, call), (status, content, left) in found.items():
        number = {"SIGINT": 130, "SIGTERM": -15, "SIGHUP": -1, "SIGKILL": -9}[name]
        assert int(status) == number, (name, call)
        assert content == ("new" if call == "replace" else "old"), (name, call)
        # Nothing can be done about SIGKILL; that a file is left then shows that the test would see one.
        assert int(left) == (name == "SIGKILL" and call != "replace"), (name, call)


def test_handlers_of_signals_are_as_before(tmp_path):
    import signal

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    writing.write(tmp_path / "a", b"b")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


# What writes a file by name; in memory, to a buffer, is fine.
WRITES = re.compile(
    r"write_text\(|write_bytes\(|open\([^)]*[\"'][wax]b?[\"']|savefig\((?!buffer)|to_csv\((?!index)|np\.save"
    r"(?!z\(buffer)|\.tofile\("
)


# Lines of examples in docstrings, which are a user's.
EXAMPLES = re.compile(r"^ *>>> .*$", re.MULTILINE)


def test_nothing_is_written_in_another_way():
    """Faults above reach everything because ``writing.write`` is the one place that opens a file for writing."""
    sources = {path: EXAMPLES.sub("", path.read_text(encoding="utf-8")) for path in (ROOT / "dfp").rglob("*.py")}
    found = {str(path.relative_to(ROOT)) for path, text in sources.items() if WRITES.search(text)}
    assert found == {"dfp/results/hdf5.py"} & found  # h5py.File(buffer, "w"), in memory
    assert WRITES.search('path.open("wb")') and WRITES.search("figure.savefig(path)")
