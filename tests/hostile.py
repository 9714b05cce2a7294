"""Files that somebody forged, with right checksums: mutations of good ones, read by a process that may be killed.

By hand, for a longer run: ``python tests/hostile.py 10000``.
"""

import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from solutions import made

import dfp
from dfp.results import checksum

PATIENCE = 1.0
"""Seconds within which a reader has to answer."""


def originals():
    """Contents of good files: one solution, several, results of other kinds, and those of the first version."""
    result = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"
        made().save(path)
        result.append(checksum.read(path))
        dfp.save_many({"a": made(sampled=True, higher=True), "b": made(gridded=False)}, path)
        result.append(checksum.read(path))
        axes = {"learning_rate": [0.1, 0.5]}, {"curvature_noise": [0.0, 0.5]}
        dfp.phase_diagram(*axes, curvature=1.0, gradient_noise=0.3).save(path)
        result.append(checksum.read(path))
        result += [checksum.read(older) for older in sorted((Path(__file__).parent / "data").glob("*-0.1.0.h5"))]
        for found in others():
            found.save(path)
            result.append(checksum.read(path))
    return result


def others():
    """Results of other kinds."""
    sgd, start = dfp.SGD(dfp.QuadraticLandscape(1.0, noise=dfp.GaussianNoise(0.5, 0.1)), 0.1), dfp.Gaussian(1.0, 0.1)
    one, two = (dfp.solve(kind(sgd), start, 5, grid=16) for kind in (dfp.MasterEquation, dfp.Langevin))
    sweep = dfp.sweep(lambda x: [x, x], {"x": [1.0, 2.0]}, quiet=True)
    return [sweep, dfp.modes(sgd), dfp.compare({"a": one, "b": two}), dfp.spectrum(dfp.MasterEquation(sgd))]


def mutated(content, seed):
    """Return ``content`` with bits flipped, bytes, words or stretches replaced, or numbers of consequence put in."""
    chance, result = random.Random(seed), bytearray(content)
    kind = chance.randrange(5)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        place, length = chance.randrange(len(result) - 8), chance.choice([2, 4, 8])
        if kind == 0:
            result[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            result[place] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        elif kind == 2:
            source = chance.randrange(len(result) - 8)
            result[place : place + length] = result[source : source + length]
        elif kind == 3:
            numbers = [0, 1, 8, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(result), chance.randrange(len(result))]
            result[place : place + length] = chance.choice(numbers).to_bytes(8, "little")[:length]
        else:
            result[place : place + 64] = bytes(len(result[place : place + 64]))
    return bytes(result)


def outcome(path):
    """Read a file in every way; return what happened, in a word."""
    words = []
    for read in (dfp.load, dfp.load_many, dfp.load_phase_diagram, dfp.load_escape):
        try:
            read(path)
            words.append("read")
        except dfp.FileFormatError as error:
            assert str(path) in str(error)
            words.append("refused")
    return min(words)  # "read" if any could


def _serve(requests, folder):
    """Answer every (content or seed) with what happened to it and the seconds it took."""
    goods, path = originals(), Path(folder) / "forged.h5"
    requests.send("ready")
    while (seed := requests.recv()) is not None:
        content = seed if isinstance(seed, bytes) else mutated(goods[seed % len(goods)], seed)
        checksum.write(path, content)
        began = time.perf_counter()
        try:
            answer = outcome(path)
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        requests.send((answer, time.perf_counter() - began))


class Reader:
    """A process that reads forged files, and is replaced when it hangs or dies."""

    def __init__(self, folder):
        self._folder, self._process = folder, None

    def _start(self):
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.poll(120) and self._pipe.recv() == "ready"

    def try_out(self, request):
        """Return what happened to a content, or to the mutation of a seed, and the seconds it took."""
        if self._process is None:
            self._start()
        self._pipe.send(request)
        try:
            if self._pipe.poll(30 * PATIENCE):
                return self._pipe.recv()
            answer = "hangs", 30 * PATIENCE
        except EOFError:
            answer = "dies", 0.0
        self.close()
        return answer

    def close(self):
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def main(count):
    """Read ``count`` mutations; print how many were refused, read, or worse."""
    found, slowest = Counter(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(folder)
        for seed in range(count):
            answer, seconds = reader.try_out(seed)
            found[answer] += 1
            slowest = max(slowest, seconds)
            if answer not in ("read", "refused") or seconds > PATIENCE:
                print(f"seed {seed}: {answer} after {seconds:.2f} s", flush=True)
        reader.close()
    print(f"{count} mutations: {dict(found)}; the slowest took {slowest:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]))
