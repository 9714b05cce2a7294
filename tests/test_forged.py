"""Forged files, with a right checksum: whatever dfp does not write is refused before it is followed or read."""

import io

import h5py
import numpy as np
import pytest
from solutions import assert_same, made

import dfp
from dfp.results import checksum as sealed


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


def virtual(file):
    layout = h5py.VirtualLayout(shape=(3, 2), dtype="<f8")
    layout[:] = h5py.VirtualSource("secret.h5", "mean", shape=(3, 2))
    del file["mean"]
    file.create_virtual_dataset("mean", layout)


def uneven(file):
    file["theta_1"][2] += 0.1


def unlabelled(name):
    def change(file):
        del file.attrs[name]

    return change


HOSTILE = {
    "external link": linked("density", h5py.ExternalLink("secret.h5", "/density")),
    "external link, unknown name": linked("extra", h5py.ExternalLink("secret.h5", "/density")),
    "soft link": linked("density", h5py.SoftLink("/mean")),
    "virtual": virtual,
    "external storage": replaced("mean", shape=(3, 2), dtype="<f8", external=[("/etc/passwd", 0, 48)]),
    "bomb": replaced("density", shape=(3, 6, 7), dtype="<f8", chunks=(1024, 1024, 8), maxshape=(None,) * 3),
    "compressed": replaced("mean", data=np.zeros((3, 2)), compression="gzip"),
    "declared, not stored": replaced("density", shape=(3, 6, 7), dtype="<f8"),
    "terabytes": replaced("step", shape=(10**12,), dtype="<i8"),
    "no steps": replaced("step", shape=(0,), dtype="<i8"),
    "wrong shape": replaced("covariance", data=np.zeros((3, 2))),
    "wrong length": replaced("mass_defect", data=np.zeros(4)),
    "float32": replaced("mean", data=np.zeros((3, 2), "<f4")),
    "big-endian": replaced("mean", data=np.zeros((3, 2), ">f8")),
    "integers": replaced("mean", data=np.zeros((3, 2), "<i8")),
    "text": replaced("mean", data=np.full((3, 2), b"0.123456")),
    "variable-length text": replaced("mean", data=np.full((3, 2), "x", object), dtype=h5py.string_dtype()),
    "compound": replaced("mean", data=np.zeros((3, 2), [("r", "<f4"), ("i", "<f4")])),
    "group for a dataset": lambda file: (file.__delitem__("mean"), file.create_group("mean")),
    "missing": lambda file: file.__delitem__("mean"),
    "no bounds": lambda file: file.__delitem__("theta_2_bounds"),
    "cycle": lambda file: (file.__delitem__("mean"), file.__setitem__("mean", file["/"])),
    "uneven grid": uneven,
    "density without grid": labelled("gridded", np.int8(0)),
    "newer major": labelled("dfp_schema", "2.0"),
    "no version": labelled("dfp_schema", "latest"),
    "number for version": labelled("dfp_schema", 1.0),
    "fixed-length text": labelled("equation", np.bytes_(b"x")),
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


@pytest.mark.parametrize("kind", HOSTILE)
def test_forged_files_are_refused(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as file:
        file["mean"], file["density"] = np.ones((3, 2)), np.ones((3, 6, 7))
    forge(HOSTILE[kind])
    with pytest.raises(dfp.FileFormatError, match=r"run\.h5"):
        dfp.load("run.h5")


def test_a_later_minor_version_with_more_members_is_read(tmp_path, monkeypatch):
    def later(file):
        file.attrs["dfp_schema"] = "1.9"
        file["extra"] = np.zeros(3)

    monkeypatch.chdir(tmp_path)
    forge(later)  # and resealing a file by itself does no harm
    assert_same(dfp.load("run.h5"), made())


def forge(change):
    """Write a solution to run.h5, change it, and seal it again as an attacker would."""
    made().save("run.h5")
    buffer = io.BytesIO(sealed.read("run.h5"))
    with h5py.File(buffer, "r+") as file:
        change(file)
    sealed.write("run.h5", buffer.getvalue())
