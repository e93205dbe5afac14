#!/usr/bin/python3
"""An imported Keras Xception with random weights against PyTorch's definition of the network with the same
weights: probabilities at most 1e-4 of the largest apart. The file is written as the official one is (Keras 1);
tests/system/45-model.py shows that the other layouts give the same model."""
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT / "tests/system")]
import engine_runner  # noqa: E402
import keras_files  # noqa: E402
import make_xception  # noqa: E402

LIMIT = 1e-4


def conv(module):  # (out, in, h, w) -> (h, w, in, out)
    return module.weight.detach().numpy().transpose(2, 3, 1, 0)


def depthwise(module):  # (channels, 1, h, w) -> (h, w, channels, 1)
    return module.weight.detach().numpy().transpose(2, 3, 0, 1)


def norm(module):
    return {"gamma": module.weight.detach().numpy(), "beta": module.bias.detach().numpy(),
            "moving_mean": module.running_mean.numpy(),
            "moving_variance": module.running_var.numpy()}


def keras_weights(model):
    """PyTorch's weights under Keras' names, in the order of the graph."""
    out = {}

    def add_conv(name, module, bn):
        out[name] = {"kernel": conv(module)}
        out[name + "_bn"] = norm(bn)

    def add_separable(name, module):
        out[name] = {"depthwise_kernel": depthwise(module.depthwise),
                     "pointwise_kernel": conv(module.pointwise)}
        out[name + "_bn"] = norm(module.bn)

    def add_down(block, module):
        add_separable("block%d_sepconv1" % block, module.one)
        add_separable("block%d_sepconv2" % block, module.two)
        add_conv("block%d_residual" % block, module.residual, module.bn)

    add_conv("block1_conv1", model.conv1, model.bn1)
    add_conv("block1_conv2", model.conv2, model.bn2)
    for i, module in enumerate(model.entry):
        add_down(2 + i, module)
    for i, module in enumerate(model.middle):
        for k, part in enumerate(module.parts):
            add_separable("block%d_sepconv%d" % (5 + i, k + 1), part)
    add_down(13, model.exit)
    add_separable("block14_sepconv1", model.sep1)
    add_separable("block14_sepconv2", model.sep2)
    out["predictions"] = {"kernel": model.fc.weight.detach().numpy().T,
                          "bias": model.fc.bias.detach().numpy()}
    return out


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = pathlib.Path(name)
        model = make_xception.randomise(make_xception.Xception(softmax=True), 3)
        model.fc.weight *= 0.003  # no class wins by far
        x = torch.rand((1, 3, 299, 299), generator=torch.Generator().manual_seed(5)) * 2 - 1
        expected = model(x).numpy().ravel()
        assert expected.max() < 0.3, expected.max()
        keras_files.write_keras1(folder / "xception.h5", keras_weights(model), shuffle=1)
        subprocess.run([ROOT / "smelt", "model", "import", folder / "xception.h5", "-o",
                        folder / "xception"], check=True, stdout=subprocess.DEVNULL)
        got, why = engine_runner.run(folder / "xception/model.onnx", x.numpy(), folder)
    if got is None:
        sys.exit("FAILED keras: " + why)
    apart = numpy.abs(got - expected).max() / expected.max()
    good = apart <= LIMIT and got.argmax() == expected.argmax()
    print("%s keras xception: probabilities %.2e of the largest apart (limit %.0e)" %
          ("ok" if good else "FAILED", apart, LIMIT))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
