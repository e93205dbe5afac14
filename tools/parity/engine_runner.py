"""Builds tools/parity/run_onnx.c against the release libraries and runs models with it."""
import os
import pathlib
import subprocess

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build" / "parity" / "run_onnx"


def build():
    """The program, made anew if it is older than the libraries."""
    libraries = [ROOT / "build" / "release" / name for name in ("libengine.a", "libbase.a")]
    source = ROOT / "tools" / "parity" / "run_onnx.c"
    newest = max(p.stat().st_mtime for p in [source, *libraries])
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < newest:
        PROGRAM.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [os.environ.get("CC", "gcc"), "-std=c17", "-D_GNU_SOURCE", "-O2", "-I", ROOT / "src",
             source, "-o", PROGRAM, *libraries, "-ldnnl", "-lgomp", "-lprotobuf-c", "-ljansson", "-lcrypto",
             "-lm"], check=True)
    return PROGRAM


def run(model, x, folder, *extra, timeout=600):
    """(output, "") or (None, the error's line)."""
    x.astype(numpy.float32).tofile(folder / "x.f32")
    command = [build(), model, folder / "x.f32", folder / "y.f32", *extra]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=timeout)
    if done.returncode == 0:
        return numpy.fromfile(folder / "y.f32", numpy.float32), ""
    return None, done.stderr.strip().splitlines()[-1] if done.stderr else str(done.returncode)
