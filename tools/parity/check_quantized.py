#!/usr/bin/python3
"""Models that PyTorch has quantized and exported (QuantizeLinear, DequantizeLinear) run in integers and
round where the file says: the same numbers as the plain kernels in floats, but where a sum lies so near
to the middle between two bytes that its last bit decides. In networks of random weights such differences
grow from layer to layer, so the first convolution's result is compared byte for byte, the logits by
their cosine."""
import collections
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
import onnx
import torch
from onnx import TensorProto, helper
from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

import engine_runner
import networks

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CASES = [("resnet18", "onednn"), ("mobilenet_v2", "qnnpack"), ("efficientnet_b0", "onednn")]
COSINE_MIN = 0.97
BYTES_MAX = 1e-3  # of the first convolution's: apart, and then by one


def export(name, backend, path):
    torch.backends.quantized.engine = backend
    model, side = networks.make(name)
    generator = torch.Generator().manual_seed(3)
    pictures = [torch.rand((1, 3, side, side), generator=generator) * 2 - 1 for _ in range(3)]
    mapping = get_default_qconfig_mapping(backend)
    prepared = quantize_fx.prepare_fx(model, mapping, (pictures[0],))
    with torch.no_grad():
        for x in pictures:
            prepared(x)
        torch.onnx.export(quantize_fx.convert_fx(prepared), pictures[0], path, opset_version=13)
    return pictures[0].numpy()


def first_rounded_convolution(path, out):
    """The model, ending behind the first DequantizeLinear that follows a convolution."""
    model = onnx.load(path)
    reached = set()
    for node in model.graph.node:
        if node.op_type == "Conv" or reached & set(node.input):
            reached.update(node.output)
        if node.op_type == "DequantizeLinear" and reached & set(node.input):
            del model.graph.output[:]
            model.graph.output.append(helper.make_tensor_value_info(node.output[0],
                                                                    TensorProto.FLOAT, None))
            onnx.save(model, str(out))
            return
    sys.exit("no rounded convolution in %s" % path)


def both_ways(path, x, folder):
    fast, why = engine_runner.run(path, x, folder)
    plain, why_not = engine_runner.run(path, x, folder, "--reference")
    if fast is None or plain is None:
        sys.exit("FAILED %s: %s%s" % (path.name, why, why_not))
    return fast, plain


def convolutions(path):
    """How many there are of each precision."""
    lines = subprocess.run([ROOT / "smelt", "model", "inspect", path, "--layers"], check=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return collections.Counter("int8" if " int8 " in line else "fp32"
                               for line in lines.splitlines() if " Conv " in line)


def check(name, backend, folder):
    path, part = folder / (name + ".onnx"), folder / "part.onnx"
    x = export(name, backend, path)
    first_rounded_convolution(path, part)
    fast, plain = both_ways(part, x, folder)
    step = numpy.diff(numpy.unique(plain)).min()
    steps = numpy.abs(fast - plain) / step
    share = float((steps > 0.5).mean())
    fast, plain = both_ways(path, x, folder)
    cosine = float(fast @ plain / numpy.linalg.norm(fast) / numpy.linalg.norm(plain))
    kinds = convolutions(path)
    good = kinds["fp32"] == 0 and steps.max() < 1.01 and share < BYTES_MAX and cosine > COSINE_MIN
    print("%s %s quantized by PyTorch (%s): %d convolutions in int8, %d in fp32; first convolution: "
          "%.5f %% of its bytes apart, by one; cosine of the logits %.5f" % (
              "ok" if good else "FAILED", name, backend, kinds["int8"], kinds["fp32"], 100 * share,
              cosine), flush=True)
    return good


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        results = [check(name, backend, pathlib.Path(folder)) for name, backend in CASES]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
