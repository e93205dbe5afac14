#!/usr/bin/python3
"""Runs ONNX's own node tests (Debian's libonnx-testdata) for the operators that smelt claims.

usage: check_onnx_node_tests.py [NAME...]

A node test feeds tensors of any shape to one node. smelt's models have one input of batch 1, so each
test is wrapped: the first float input comes in as [1, all elements] and is reshaped, the others become
constants. Both the fast path and the plain kernels must give the expected result, or the model must be
refused as unsupported. A test counts as covered when it was not refused.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import engine_runner  # noqa: E402

DATA = pathlib.Path("/usr/share/libonnx-testdata/data")


def load_tensor(path):
    tensor = TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return tensor


def wrap(model, inputs):
    """The model with one float input of batch 1; returns (model, input array), or None."""
    graph = model.graph
    names = [i.name for i in graph.input]
    arrays = [numpy_helper.to_array(t) for t in inputs]
    floats = [k for k, a in enumerate(arrays) if a.dtype == numpy.float32 and a.size > 0]
    if not floats:
        return None
    x = floats[0]
    del graph.input[:]
    graph.input.append(
        helper.make_tensor_value_info("smelt_x", TensorProto.FLOAT, [1, arrays[x].size]))
    for k, tensor in enumerate(inputs):
        if k != x:
            tensor.name = names[k]
            graph.initializer.append(tensor)
    shape = numpy.array(arrays[x].shape, numpy.int64)
    graph.initializer.append(numpy_helper.from_array(shape, "smelt_shape"))
    graph.node.insert(0, helper.make_node("Reshape", ["smelt_x", "smelt_shape"], [names[x]]))
    return model, arrays[x]


def check(test, claimed, folder):
    """"ok", "skip: …", "refused: …" or "FAILED: …"."""
    model = onnx.load(str(test / "model.onnx"))
    if any(n.op_type not in claimed for n in model.graph.node):
        return "skip: other operators"
    version = max([o.version for o in model.opset_import if o.domain in ("", "ai.onnx")] or [0])
    if version < 7:
        return "skip: opset %d" % version
    data = test / "test_data_set_0"
    inputs = [load_tensor(p) for p in
              sorted(data.glob("input_*.pb"), key=lambda p: int(p.stem.split("_")[1]))]
    if any(not v.type.HasField("tensor_type")
           for v in [*model.graph.input, *model.graph.output]):
        return "skip: sequences"
    if len(inputs) != len(model.graph.input):
        return "skip: not all inputs have data"
    expected = numpy_helper.to_array(load_tensor(data / "output_0.pb"))
    wrapped = wrap(model, inputs)
    if wrapped is None or expected.dtype != numpy.float32:
        return "skip: not floats"
    onnx.save(wrapped[0], str(folder / "m.onnx"))
    for extra in ([], ["--reference"]):
        got, why = engine_runner.run(folder / "m.onnx", wrapped[1], folder, *extra)
        if got is None:
            return ("refused: " if ": unsupported:" in why else "FAILED: ") + why
        if got.size != expected.size or not numpy.allclose(got, expected.ravel(), 1e-3, 1e-5):
            return "FAILED: wrong result %s" % " ".join(extra)
    return "ok"


def main():
    listing = subprocess.run([engine_runner.build(), "--ops"], stdout=subprocess.PIPE, text=True, check=True)
    claimed = {line.split()[0] for line in listing.stdout.splitlines()}
    counts = {}
    tests = sorted(p.parent for kind in ("node", "pytorch-operator", "pytorch-converted", "simple")
                   for p in (DATA / kind).glob("*/model.onnx"))
    with tempfile.TemporaryDirectory() as name:
        for test in tests:
            if len(sys.argv) > 1 and test.name not in sys.argv[1:]:
                continue
            verdict = check(test, claimed, pathlib.Path(name))
            kind = verdict.split(":")[0]
            counts[kind] = counts.get(kind, 0) + 1
            if kind == "FAILED" or (kind != "ok" and len(sys.argv) > 1):
                print("%-50s %s" % (test.name, verdict))
    print("ok" if counts.get("FAILED", 0) == 0 else "FAILED", "ONNX node tests:", ", ".join("%d %s" % (n, kind) for kind, n in sorted(counts.items())))
    sys.exit(1 if counts.get("FAILED", 0) > 0 or counts.get("ok", 0) == 0 else 0)


if __name__ == "__main__":
    main()
