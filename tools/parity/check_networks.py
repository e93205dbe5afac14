#!/usr/bin/python3
"""Whole networks with random weights (networks.py), as PyTorch exports them: smelt's logits against
PyTorch's, at most 1e-4 of the largest apart.

usage: check_networks.py [NAME...]
"""
import pathlib
import sys
import tempfile
import time
import warnings

import numpy
import onnx
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import engine_runner  # noqa: E402
import networks  # noqa: E402

LIMIT = 1e-4
# name, opset, batch norms kept as nodes
CASES = [
    ("resnet50", 13, True), ("resnet18", 9, False), ("mobilenet_v2", 11, False),
    ("mobilenet_v3", 13, False), ("mobilenet_v3", 9, False), ("mobilenet_v3", 14, True),
    ("efficientnet_b0", 13, True), ("efficientnet_b0", 9, False), ("densenet121", 13, False),
    ("inception_v3", 12, False), ("squeezenet", 13, False), ("vgg11_narrow", 16, False),
    ("shufflenet_v2", 13, False), ("shufflenet_v2", 9, True), ("regnet_y_400mf", 11, False),
    ("convnext_tiny", 13, False), ("vit_s16", 16, False), ("vit_s16", 11, False),
    ("vit_s16_packed", 13, False), ("vit_s16_packed", 17, False),
    ("mobilenet_v3", 18, False), ("vit_s16_packed", 18, False),
]
EXPORTER_MAX = 17  # Debian's PyTorch writes no later opset


def raise_to_18(path):
    """Opset 17 as 18: the axes that are reduced are an input since then, a Split without sizes says into
    how many parts; nothing else of ours has changed."""
    model = onnx.load(path)
    for node in model.graph.node:
        assert node.op_type not in ("Pad", "Resize"), node.op_type
        if node.op_type == "Split" and len(node.input) == 1:
            node.attribute.append(onnx.helper.make_attribute("num_outputs", len(node.output)))
        axes = [a for a in node.attribute if a.name == "axes" and node.op_type.startswith("Reduce")]
        for attribute in axes:
            name = node.name + "_axes"
            model.graph.initializer.append(onnx.helper.make_tensor(
                name, onnx.TensorProto.INT64, [len(attribute.ints)], attribute.ints))
            node.input.append(name)
            node.attribute.remove(attribute)
    model.opset_import[0].version = 18
    onnx.save(model, path)


def export(model, x, path, opset, keep_norms):
    mode = torch.onnx.TrainingMode
    with warnings.catch_warnings(), torch.enable_grad():  # or MultiheadAttention takes a way of its own
        warnings.simplefilter("ignore")
        torch.onnx.export(model, x, path, opset_version=min(opset, EXPORTER_MAX),
                          input_names=["input"], output_names=["logits"],
                          training=mode.PRESERVE if keep_norms else mode.EVAL)
    if opset == 18:
        raise_to_18(path)


def check(name, opset, keep_norms, folder):
    start = time.monotonic()
    model, side = networks.make(name, opset)
    x = torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(2)) * 2 - 1
    path = folder / "network.onnx"
    expected = model(x).numpy()
    export(model, x, path, opset, keep_norms)
    got, why = engine_runner.run(path, x.numpy(), folder)
    title = "%s, opset %d%s" % (name, opset, ", batch norms kept" if keep_norms else "")
    if got is None:
        print("FAILED %s: %s" % (title, why))
        return False
    apart = numpy.abs(got - expected.ravel()).max() / numpy.abs(expected).max()
    good = bool(apart <= LIMIT) and got.argmax() == expected.argmax()
    print("%s %s: logits %.1e of the largest apart (limit %.0e; %.0f s)" %
          ("ok" if good else "FAILED", title, apart, LIMIT, time.monotonic() - start), flush=True)
    return good


def main():
    torch.set_num_threads(2)
    good = True
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        for case in CASES:
            if len(sys.argv) < 2 or case[0] in sys.argv[1:]:
                good = check(*case, pathlib.Path(name)) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
