#!/usr/bin/python3
"""Writes networks of tools/parity/networks.py, and Xception, with random weights as ONNX: what
`smelt bench engine` and bench/peers/onnxruntime.mjs measure.

usage: make_networks.py FOLDER [NAME...]      default: xception resnet50 mobilenet_v2 efficientnet_b0
"""
import pathlib
import sys
import warnings

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "parity")]
import make_xception  # noqa: E402
import networks  # noqa: E402


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    for name in sys.argv[2:] or ["xception", "resnet50", "mobilenet_v2", "efficientnet_b0"]:
        if name == "xception":
            model, side = make_xception.randomise(make_xception.Xception(), 1), 299
        else:
            model, side = networks.make(name)
        path = folder / (name + ".onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, torch.zeros(1, 3, side, side), path, opset_version=13,
                              input_names=["input"], output_names=["logits"])
        print(path, flush=True)


if __name__ == "__main__":
    main()
