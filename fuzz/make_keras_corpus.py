#!/usr/bin/python3
"""Writes fuzz/corpus/keras: weight files of a tiny Xception (TINY in tests/system/keras_files.py, as
fuzz_keras.c and tests/unit/test_keras.c read them), good and bad. Needs Debian's python3-h5py."""
import os
import sys
import zipfile

import h5py
import numpy

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests/system"))
import keras_files as keras  # noqa: E402

OUT = os.path.join(ROOT, "fuzz/corpus/keras")


def path(name):
    return os.path.join(OUT, name)


def good(weights):
    keras.write_keras1(path("good-keras1.h5"), weights, shuffle=3, libver="latest")
    keras.write_keras2(path("good-keras2.h5"), weights, shuffle=4, start=7)
    keras.write_keras3(path("good-keras3.keras"), weights, shuffle=5, libver="latest")


def bad_hdf5():
    def small(name):
        return h5py.File(path(name), "w")
    with small("bad-soft-link.h5") as f:
        f["block1_conv1/kernel:0"] = h5py.SoftLink("/elsewhere")
    with small("bad-external-link.h5") as f:
        f["block1_conv1"] = h5py.ExternalLink("/etc/hostname", "/x")
    with small("bad-loop.h5") as f:
        f.create_group("a")["a"] = f["/"]
    with small("bad-external-data.h5") as f:
        f.create_dataset("predictions/bias:0", (3,), "f4", external=[("/etc/hostname", 0, 12)])
    with small("bad-huge.h5") as f:
        f.create_dataset("predictions/kernel:0", (1 << 60, 9), "f4", chunks=(16, 9))
    with small("bad-huge-chunk.h5") as f:
        f.create_dataset("predictions/kernel:0", (1 << 28, 9), "f4", chunks=(1 << 26, 9))
    with small("bad-filter.h5") as f:
        f.create_dataset("predictions/bias:0", (3,), "f4", compression="lzf", chunks=(3,))
    with small("bad-types.h5") as f:
        f["predictions/kernel:0"] = numpy.zeros((9, 3), "i4")
        f["predictions/bias:0"] = [b"one", b"two", b"three"]
        f["block1_conv1/block1_conv1/kernel:0"] = numpy.zeros((1,) * 20, "f4")
        f["block1_conv1_bn/gamma:0"] = h5py.Empty("f4")
    with small("bad-few.h5") as f:
        for name in ("conv2d", "conv2d_1", "conv2d_9999999", "convolution2d_3", "conv2d_x"):
            f[name + "/" + name + "_W:0"] = numpy.zeros((1, 1, 3, 4), "f4")


def bad_others():
    def write(name, data):
        with open(path(name), "wb") as f:
            f.write(data)
    with open(path("bad-types.h5"), "rb") as f:
        data = f.read()
    write("bad-cut.h5", data[:len(data) // 2])
    write("bad-head-only.h5", data[:8])
    write("bad-empty", b"")
    write("bad-html", b"<!DOCTYPE html><title>404</title>")
    for name, compression, member in (("bad-compressed.keras", zipfile.ZIP_DEFLATED, None),
                                      ("bad-member.keras", zipfile.ZIP_STORED, "other.h5"),
                                      ("bad-few.keras", zipfile.ZIP_STORED, None)):
        with zipfile.ZipFile(path(name), "w", compression) as z:
            z.writestr(member or "model.weights.h5", data)
    with open(path("bad-few.keras"), "rb") as f:
        archive = bytearray(f.read())
    write("bad-cut.keras", archive[:-30])
    archive[200] ^= 1
    write("bad-crc.keras", archive)


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    good(keras.random_weights(width=keras.TINY, classes=3))
    bad_hdf5()
    bad_others()
