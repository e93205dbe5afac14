#!/usr/bin/python3
"""Writes tests/golden/NAME.onnx with NAME.in.f32 and NAME.out.f32: small networks of random weights,
one for each family of operators, and what PyTorch computes. Needs python3-torch and python3-onnx; run
it again only to add networks, and commit what it writes.
"""
import pathlib
import sys
import warnings

import numpy
import torch
from torch import nn
from torch.nn import functional

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "tools"), str(HERE.parent.parent / "tools" / "parity")]
import make_xception  # noqa: E402
import tf_style  # noqa: E402


class Lambda(nn.Module):
    def __init__(self, function, *modules):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.parts)


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        fan_in = max(p[0].numel() if p.dim() > 1 else 1, 1)
        p.data.normal_(0, fan_in ** -0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def save(name, model, shape, opset=13, keep_bn=True, dynamic=False):
    model = randomise(model, len(name))
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mode = torch.onnx.TrainingMode
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, x, HERE / (name + ".onnx"), opset_version=opset,
                          training=mode.PRESERVE if keep_bn else mode.EVAL,
                          input_names=["x"], output_names=["y"],
                          dynamic_axes={"x": {0: "batch"}} if dynamic else None)
        floats(name, x, model(x))


def floats(name, x, y):
    x.numpy().astype(numpy.float32).tofile(HERE / (name + ".in.f32"))
    y.numpy().astype(numpy.float32).tofile(HERE / (name + ".out.f32"))


def attention(x, qkv, out):
    b, n, c = x.shape
    q, k, v = (t.view(b, n, 2, c // 2).transpose(1, 2) for t in qkv(x).chunk(3, -1))
    y = torch.softmax(q @ k.transpose(-1, -2) * 0.3, -1) @ v
    return out(y.transpose(1, 2).reshape(b, n, c)) + x


def main():
    torch.set_num_threads(1)
    conv, bn, relu = nn.Conv2d, nn.BatchNorm2d, nn.ReLU
    save("conv_bn_relu", nn.Sequential(
        conv(3, 10, 3, stride=2, padding=1, bias=False), bn(10), relu(),
        conv(10, 18, (1, 5), padding=(0, 4), dilation=(1, 2)), bn(18), nn.ReLU6()), (1, 3, 15, 13))
    save("conv_folded_opset9", nn.Sequential(
        conv(3, 10, 3, bias=False), bn(10), relu(), conv(10, 7, 1)), (1, 3, 9, 9), 9, False)
    save("grouped", nn.Sequential(
        conv(12, 12, 3, padding=1, groups=12), conv(12, 24, 1, groups=3), nn.LeakyReLU(0.1),
        conv(24, 12, 3, groups=2, stride=2)), (1, 12, 11, 9), 11)
    save("pools", Lambda(lambda x: torch.cat([
        functional.max_pool2d(x, 3, 2, ceil_mode=True), functional.max_pool2d(x, 3, 2, 1),
        functional.avg_pool2d(x, 3, 2, 1), functional.avg_pool2d(x, 3, 2, 1, False, False)], 1)),
        (1, 5, 10, 12), 12)
    save("flatten_dynamic", Lambda(lambda x, c, f, g: g(torch.relu(
        f(torch.relu(c(x)).view(x.size(0), -1)))), conv(3, 6, 3), nn.Linear(96, 9), nn.Linear(9, 4)),
        (1, 3, 6, 6), 11, dynamic=True)
    save("mean_softmax", Lambda(lambda x, c, f: torch.softmax(f(c(x).mean((2, 3))), 1),
                                conv(3, 20, 3), nn.Linear(20, 6)), (1, 3, 8, 7), 17)
    save("squeeze_excite", Lambda(lambda x, c, d, e: functional.hardswish(c(x)) * functional.hardsigmoid(
        e(torch.relu(d(functional.adaptive_avg_pool2d(c(x), 1))))),
        conv(3, 17, 3, padding=1), conv(17, 4, 1), conv(4, 17, 1)), (1, 3, 9, 8), 14)
    save("branches", Lambda(lambda x, a, b, c: torch.sigmoid(torch.cat([
        a(x), torch.tanh(b(functional.pad(x, (1, 2, 0, 1)))), c(x) + x], 1)),
        conv(4, 6, 1), conv(4, 5, (2, 4)), conv(4, 4, 3, padding=1)), (1, 4, 7, 9), 13)
    save("attention", Lambda(attention, nn.Linear(12, 36), nn.Linear(12, 12)), (1, 7, 12), 13)
    xception = make_xception.randomise(make_xception.Xception(
        (5, 7, 9, 11, 21, 17, 19, 26), 2, 5), 3)
    size = 51
    x = torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(2)) * 2 - 1
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(xception, x, HERE / "xception_torch.onnx", opset_version=13,
                          training=torch.onnx.TrainingMode.PRESERVE)
        floats("xception_torch", x, xception(x))
        tf_style.write(xception, size, HERE / "xception_keras.onnx", reduce_mean=True)
        floats("xception_keras", x.permute(0, 2, 3, 1).contiguous(), xception(x))


if __name__ == "__main__":
    main()
