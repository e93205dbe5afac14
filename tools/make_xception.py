#!/usr/bin/python3
"""Writes Keras' Xception with random weights as ONNX: for `smelt bench engine` without real weights,
and for tools/parity.sh.

usage: make_xception.py OUT.onnx [--softmax] [--seed N] [--size 299] [--input X.f32 --logits Y.f32]
"""
import argparse
import warnings

import numpy
import torch
from torch import nn
from torch.nn import functional


class Separable(nn.Module):
    """Depthwise 3x3, then 1x1, nothing in between."""

    def __init__(self, inside, outside):
        super().__init__()
        self.depthwise = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
        self.pointwise = nn.Conv2d(inside, outside, 1, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=1e-3)

    def forward(self, x):
        return self.bn(self.pointwise(self.depthwise(x)))


def pool_same(x):
    """MaxPool 3x3/2 with TensorFlow's SAME padding, which may be uneven."""
    pads = []
    for size in (int(x.shape[3]), int(x.shape[2])):
        total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.max_pool2d(functional.pad(x, pads, value=-float("inf")), 3, 2)


class Down(nn.Module):
    """Two separable convolutions and a pool, beside a 1x1/2 convolution."""

    def __init__(self, inside, middle, outside, relu_first=True):
        super().__init__()
        self.relu_first = relu_first
        self.one = Separable(inside, middle)
        self.two = Separable(middle, outside)
        self.residual = nn.Conv2d(inside, outside, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=1e-3)

    def forward(self, x):
        y = self.one(torch.relu(x) if self.relu_first else x)
        y = self.two(torch.relu(y))
        return pool_same(y) + self.bn(self.residual(x))


class Middle(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.parts = nn.ModuleList(Separable(channels, channels) for _ in range(3))

    def forward(self, x):
        y = x
        for part in self.parts:
            y = part(torch.relu(y))
        return y + x


class Xception(nn.Module):
    def __init__(self, width=(32, 64, 128, 256, 728, 1024, 1536, 2048), middles=8, classes=1000,
                 softmax=False):
        super().__init__()
        a, b, c, d, e, f, g, h = width
        self.softmax = softmax
        self.conv1 = nn.Conv2d(3, a, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(a, eps=1e-3)
        self.conv2 = nn.Conv2d(a, b, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(b, eps=1e-3)
        self.entry = nn.Sequential(Down(b, c, c, relu_first=False), Down(c, d, d), Down(d, e, e))
        self.middle = nn.Sequential(*(Middle(e) for _ in range(middles)))
        self.exit = Down(e, e, f)
        self.sep1 = Separable(f, g)
        self.sep2 = Separable(g, h)
        self.fc = nn.Linear(h, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = self.exit(self.middle(self.entry(x)))
        x = torch.relu(self.sep2(torch.relu(self.sep1(x))))
        x = self.fc(x.mean((2, 3)))
        return torch.softmax(x, 1) if self.softmax else x


def randomise(model, seed):
    """Weights that keep activations near 1, and statistics unlike the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, (1.5 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.6, 1.4, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--softmax", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--input")
    parser.add_argument("--logits")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = randomise(Xception(softmax=args.softmax), args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    x = torch.rand((1, 3, args.size, args.size), generator=generator) * 2 - 1
    # PRESERVE keeps the batch norms as nodes of their own, as exports from Keras have them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, x, args.out, opset_version=13, input_names=["input"],
                          output_names=["output"], training=torch.onnx.TrainingMode.PRESERVE)
    if args.input:
        x.numpy().astype(numpy.float32).tofile(args.input)
    if args.logits:
        model.softmax = False
        with torch.no_grad():
            model(x).numpy().astype(numpy.float32).tofile(args.logits)


if __name__ == "__main__":
    main()
