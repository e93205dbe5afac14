"""The demo model's network: Xception's shape, small. Also: reading it back from its ONNX file."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SIDE = 128


def _conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Separable(nn.Sequential):
    """Depthwise 3x3, pointwise 1x1, batch norm; no ReLU between the two, as in Xception."""

    def __init__(self, inputs, outputs):
        super().__init__(_conv(inputs, inputs, 3, groups=inputs), _conv(inputs, outputs, 1),
                         nn.BatchNorm2d(outputs))


class Down(nn.Module):
    """Two separable convolutions, max pool 3x3/2, plus a 1x1/2 shortcut: halves the side."""

    def __init__(self, inputs, middle, outputs, relu_first=True):
        super().__init__()
        first = [nn.ReLU()] if relu_first else []
        self.body = nn.Sequential(*first, Separable(inputs, middle), nn.ReLU(),
                                  Separable(middle, outputs), nn.MaxPool2d(3, 2, 1))
        self.shortcut = nn.Sequential(_conv(inputs, outputs, 1, 2), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Middle(nn.Module):
    """Separable convolutions around which the input is added back."""

    def __init__(self, width, depth):
        super().__init__()
        self.body = nn.Sequential(*[layer for _ in range(depth)
                                    for layer in (nn.ReLU(), Separable(width, width))])

    def forward(self, x):
        return x + self.body(x)


class Demo(nn.Module):
    """(n, 3, 128, 128), values -1..1 -> (n, classes) logits"""

    def __init__(self, classes):
        super().__init__()
        self.entry = nn.Sequential(                                        # side after it:
            _conv(3, 24, 3, 2), nn.BatchNorm2d(24), nn.ReLU(),             # 64
            _conv(24, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU(),            # 32
            Down(32, 64, 64, relu_first=False),                            # 16
            Down(64, 128, 128))                                            # 8
        self.middle = nn.Sequential(Middle(128, 3), Middle(128, 3))
        self.exit = nn.Sequential(
            Down(128, 128, 192),                                           # 4
            Separable(192, 288), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(288, classes)

    def forward(self, x):
        return self.classify(self.exit(self.middle(self.entry(x))))


def to_tensor(pictures):
    """uint8 (n, h, w, 3) -> float (n, 3, h, w) in -1..1, channels last in memory"""
    return (torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float()
            .sub_(127.5).div_(127.5))


def export(network, path):
    """Writes network + Softmax as ONNX. Batch norms stay nodes of their own: folding them is the
    engine's work, and this file is one of its tests."""
    whole = nn.Sequential(network, nn.Softmax(1)).eval()
    torch.onnx.export(whole, torch.zeros(1, 3, SIDE, SIDE), path, opset_version=13,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["image"], output_names=["probabilities"])


class OnnxFile:
    """Runs an ONNX file node by node on torch's functions, so that what is measured is the file
    that ships. Knows the operators that export() writes, refuses others."""

    def __init__(self, path):
        import onnx
        from onnx import helper, numpy_helper
        model = onnx.load(path)
        onnx.checker.check_model(model)
        self.nodes = [(n.op_type, list(n.input), n.output[0],
                       {a.name: helper.get_attribute_value(a) for a in n.attribute})
                      for n in model.graph.node]
        self.constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
                          for t in model.graph.initializer}
        self.input, self.output = model.graph.input[0].name, model.graph.output[0].name

    def __call__(self, x):
        values = {**self.constants, self.input: x}
        for kind, inputs, output, attributes in self.nodes:
            values[output] = _run(kind, [values[i] for i in inputs], attributes)
        return values[self.output]


def _symmetric(pads):
    if pads[:2] != pads[2:]:
        raise ValueError(f"asymmetric padding {pads}: not written by export()")
    return pads[:2]


def _run(kind, v, a):
    if kind == "Conv":
        return F.conv2d(v[0], v[1], v[2] if len(v) > 2 else None, a["strides"],
                        _symmetric(a["pads"]), a["dilations"], a["group"])
    if kind == "BatchNormalization":
        return F.batch_norm(v[0], v[3], v[4], v[1], v[2], False, 0.0, a["epsilon"])
    if kind == "Identity":
        return v[0]
    if kind == "Relu":
        return F.relu(v[0])
    if kind == "Add":
        return v[0] + v[1]
    if kind == "MaxPool":
        return F.max_pool2d(v[0], a["kernel_shape"], a["strides"], _symmetric(a["pads"]))
    if kind == "GlobalAveragePool":
        return v[0].mean((2, 3), keepdim=True)
    if kind == "Flatten":
        return v[0].flatten(a.get("axis", 1))
    if kind == "Gemm":
        return F.linear(v[0], v[1] if a.get("transB") else v[1].T, v[2])
    if kind == "Softmax":
        return F.softmax(v[0], a["axis"])
    raise ValueError(f"operator {kind}: not written by export()")
