"""Forged files, with a right checksum: whatever dfp does not write is refused before it is followed or read.

All of them are read by a process of its own, which can be ended where a reader hangs.
"""

import io
import struct

import h5py
import numpy as np
import pytest
from hostile import Reader, originals
from solutions import assert_same, made

import dfp
from dfp.results import checksum as sealed
from dfp.results import heaps


def replaced(name, **options):
    """A forgery that stores a dataset in another way."""

    def change(file):
        del file[name]
        file.create_dataset(name, **options)

    return change


def linked(name, link):
    def change(file):
        if name in file:
            del file[name]
        file[name] = link

    return change


def labelled(name, value):
    def change(file):
        file.attrs[name] = value

    return change


def uneven(file):
    file["theta_1"][2] += 0.1


def unlabelled(name):
    def change(file):
        del file.attrs[name]

    return change


def virtual(name, shape):
    def change(file):
        layout = h5py.VirtualLayout(shape=shape, dtype="<f8")
        layout[:] = h5py.VirtualSource("secret.h5", name, shape=shape)
        del file[name]
        file.create_virtual_dataset(name, layout)

    return change


def cyclic(name):
    def change(file):
        del file[name]
        file[name] = file["/"]

    return change


def grouped(name):
    def change(file):
        del file[name]
        file.create_group(name)

    return change


def typed(name):
    def change(file):
        del file[name]
        file[name] = np.dtype("<f8")

    return change


# What may become of a dataset of floats of this name and shape.
STORED = {
    "external link": lambda name, shape: linked(name, h5py.ExternalLink("secret.h5", f"/{name}")),
    "soft link": lambda name, shape: linked(name, h5py.SoftLink("/third")),
    "link to itself": lambda name, shape: linked(name, h5py.SoftLink(f"/{name}")),
    "virtual": virtual,
    "external storage": lambda name, shape: replaced(
        name, shape=shape, dtype="<f8", external=[("/etc/passwd", 0, 8 * int(np.prod(shape)))]
    ),
    "bomb": lambda name, shape: replaced(
        name, shape=shape, dtype="<f8", chunks=(1024,) * len(shape), maxshape=(None,) * len(shape)
    ),
    "compressed": lambda name, shape: replaced(name, data=np.zeros(shape), compression="gzip"),
    "declared, not stored": lambda name, shape: replaced(name, shape=shape, dtype="<f8"),
    "terabytes": lambda name, shape: replaced(name, shape=(10**12, *shape[1:]), dtype="<f8"),
    "no entries": lambda name, shape: replaced(name, shape=(0, *shape[1:]), dtype="<f8"),
    "no space": lambda name, shape: replaced(name, dtype="<f8"),
    "one number": lambda name, shape: replaced(name, data=1.0),
    "more axes": lambda name, shape: replaced(name, data=np.zeros((*shape, 1))),
    "float32": lambda name, shape: replaced(name, data=np.zeros(shape, "<f4")),
    "big-endian": lambda name, shape: replaced(name, data=np.zeros(shape, ">f8")),
    "integers": lambda name, shape: replaced(name, data=np.zeros(shape, "<i8")),
    "complex": lambda name, shape: replaced(name, data=np.zeros(shape, "<c16")),
    "truth values": lambda name, shape: replaced(name, data=np.zeros(shape, bool)),
    "text": lambda name, shape: replaced(name, data=np.full(shape, b"0.123456")),
    "variable-length text": lambda name, shape: replaced(
        name, data=np.full(shape, "x", object), dtype=h5py.string_dtype()
    ),
    "variable-length numbers": lambda name, shape: replaced(name, shape=shape, dtype=h5py.vlen_dtype("<f8")),
    "compound": lambda name, shape: replaced(name, data=np.zeros(shape, [("r", "<f4"), ("i", "<f4")])),
    "opaque": lambda name, shape: replaced(name, data=np.zeros(shape, "V8")),
    "references": lambda name, shape: replaced(name, shape=shape, dtype=h5py.ref_dtype),
    "a group": lambda name, shape: grouped(name),
    "a type": lambda name, shape: typed(name),
    "cycle": lambda name, shape: cyclic(name),
}
SHAPES = {"mean": (3, 2), "density": (3, 6, 7), "theta_2_bounds": (7, 2), "mass_defect": (3,)}

HOSTILE = {f"{form}: {name}": make(name, shape) for form, make in STORED.items() for name, shape in SHAPES.items()} | {
    "external link, unknown name": linked("extra", h5py.ExternalLink("secret.h5", "/density")),
    "terabytes of steps": replaced("step", shape=(10**12,), dtype="<i8"),
    "a million parameters": replaced("mean", data=np.zeros((3, 10**6))),
    "no steps": replaced("step", shape=(0,), dtype="<i8"),
    "wrong shape": replaced("covariance", data=np.zeros((3, 2))),
    "wrong length": replaced("mass_defect", data=np.zeros(4)),
    "missing": lambda file: file.__delitem__("mean"),
    "no bounds": lambda file: file.__delitem__("theta_2_bounds"),
    "uneven grid": uneven,
    "density without grid": labelled("gridded", np.int8(0)),
    "newer major": labelled("dfp_schema", "2.0"),
    "no version": labelled("dfp_schema", "latest"),
    "number for version": labelled("dfp_schema", 1.0),
    "two texts": labelled("equation", np.array([b"x", b"y"])),
    "text that is not UTF-8": labelled("equation", np.bytes_(b"\xff\xfe")),
    "text for number": labelled("learning_rate", "0.1"),
    "array for number": labelled("learning_rate", np.array([0.1])),
    "deep JSON": labelled("config_json", "[" * 10**6),
    "no JSON": labelled("config_json", "{"),
    "list for provenance": labelled("config_json", "[]"),
    "numbers for warnings": labelled("warnings", "[1]"),
    "no solver": unlabelled("solver"),
    "no reason": unlabelled("reason"),
    "no schema": unlabelled("dfp_schema"),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    reader = Reader(str(tmp_path_factory.mktemp("reader")))
    yield reader
    reader.close()


@pytest.mark.parametrize("kind", HOSTILE)
def test_forged_files_are_refused(kind, tmp_path, monkeypatch, reader):
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as file:
        for name, shape in SHAPES.items():
            file[name] = np.ones(shape)
    assert reader.try_out(forge(HOSTILE[kind]))[0] == "refused"


def test_the_same_file_unchanged_is_read(tmp_path, monkeypatch, reader):
    """Negative control: what is refused above is the forgery."""
    monkeypatch.chdir(tmp_path)
    assert reader.try_out(forge(lambda file: None))[0] == "read"
    assert len(HOSTILE) >= 100


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_a_sample_of_mutations_neither_hangs_nor_crashes(first, reader):
    found = [reader.try_out(seed)[0] for seed in range(first, first + 50)]
    assert set(found) == {"read", "refused"}


# Sizes of the first object in a heap that keep the library busy for ever: nothing, and one that overflows.
@pytest.mark.parametrize("size", [0, 2**64 - 16, 2**64 - 1, 2**40])
@pytest.mark.parametrize("index", [0, 1])
def test_a_heap_that_leads_nowhere_is_refused(index, size, reader):
    content = bytearray(originals()[3])
    place = content.find(b"GCOL") + 16
    content[place : place + 16] = struct.pack("<HH4xQ", index, 1, size)
    assert (index, size) == (1, 0) or reader.try_out(bytes(content))[0] == "refused"
    if (index, size) != (1, 0):  # an object of no bytes is one
        with pytest.raises(dfp.FileFormatError, match="lead nowhere"):
            heaps.check(bytes(content))


def test_a_heap_within_a_heap_is_refused(reader):
    content = bytearray(originals()[3])
    place = content.find(b"GCOL")
    content[place + 64 : place + 68] = b"GCOL"
    with pytest.raises(dfp.FileFormatError, match="within a heap"):
        heaps.check(bytes(content))
    heaps.check(originals()[3])


def test_a_later_minor_version_with_more_members_is_read(tmp_path, monkeypatch):
    def later(file):
        file.attrs["dfp_schema"] = "1.9"
        file["extra"] = np.zeros(3)

    monkeypatch.chdir(tmp_path)
    forge(later)  # and resealing a file by itself does no harm
    assert_same(dfp.load("run.h5"), made())


def forge(change):
    """Write a solution to run.h5, change it, seal it again as an attacker would, and return its content."""
    made().save("run.h5")
    buffer = io.BytesIO(sealed.read("run.h5"))
    with h5py.File(buffer, "r+") as file:
        change(file)
    sealed.write("run.h5", buffer.getvalue())
    return buffer.getvalue()
