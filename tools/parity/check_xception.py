#!/usr/bin/python3
"""Xception with random weights: smelt's logits against PyTorch's, at most 1e-4 of the largest apart.
Twice: as PyTorch exports it, and as tf2onnx writes a Keras model (channels last, auto_pad)."""
import pathlib
import sys
import tempfile
import warnings

import numpy
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import engine_runner  # noqa: E402
import make_xception  # noqa: E402
import tf_style  # noqa: E402

LIMIT = 1e-4


def compare(name, model, x, expected, folder):
    got, why = engine_runner.run(model, x, folder)
    if got is None:
        sys.exit("FAILED %s: %s" % (name, why))
    apart = numpy.abs(got - expected.ravel()).max() / numpy.abs(expected).max()
    good = apart <= LIMIT and got.argmax() == expected.argmax()
    print("%s %s: logits %.2e of the largest apart (limit %.0e)" %
          ("ok" if good else "FAILED", name, apart, LIMIT))
    if not good:
        sys.exit(1)


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = pathlib.Path(name)
        for seed in (1, 2):
            model = make_xception.randomise(make_xception.Xception(), seed)
            x = torch.rand((1, 3, 299, 299), generator=torch.Generator().manual_seed(seed)) * 2 - 1
            expected = model(x).numpy()
            path = folder / "xception.onnx"
            if seed == 1:
                torch.onnx.export(model, x, path, opset_version=13,
                                  training=torch.onnx.TrainingMode.PRESERVE)
                compare("xception from PyTorch", path, x.numpy(), expected, folder)
            else:
                tf_style.write(model, 299, path)
                channels_last = x.permute(0, 2, 3, 1).contiguous().numpy()
                compare("xception in Keras' form", path, channels_last, expected, folder)


if __name__ == "__main__":
    main()
