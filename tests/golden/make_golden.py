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
from onnx import TensorProto, helper, numpy_helper
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


def channel_shuffle(x, a, b):
    left, right = x.chunk(2, 1)
    y = torch.cat((left, a(right)), 1)
    n, c, h, w = y.shape
    return b(y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)[:, 1:, ::2, 1:-1])


def transformer(x, patches, norm, qkv, out, up, down):
    tokens = patches(x).flatten(2).transpose(1, 2)
    tokens = torch.cat((tokens.mean(1, True).expand(x.shape[0], -1, -1), tokens), 1)
    b, n, c = tokens.shape
    q, k, v = qkv(norm(tokens)).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    tokens = out((torch.softmax(q @ k.transpose(-2, -1) * 0.4, -1) @ v).transpose(1, 2).reshape(
        b, n, c)) + tokens
    return (tokens + down(functional.gelu(up(norm(tokens)))))[:, 0]


def upsampled(x, a):
    sizes = {"scale_factor": 2, "mode": "nearest"}, {"size": (11, 12), "mode": "bilinear"}, {
        "scale_factor": 2, "mode": "bilinear", "align_corners": True}, {
        "size": (9, 17), "mode": "bicubic"}
    return torch.cat([functional.interpolate(a(x), **s).mean((2, 3)) for s in sizes] +
                     [functional.interpolate(x, **s).amax(3).flatten(1) for s in sizes], 1)


def window_ends(x, a):
    return torch.cat([functional.avg_pool2d(a(x), 3, 2, 1, True, True),
                      functional.avg_pool2d(a(x), 3, 2, 1, True, False),
                      functional.max_pool2d(a(x), 3, 2, 1, 1, True)], 1)


def new_operators():
    conv, bn = nn.Conv2d, nn.BatchNorm2d
    for opset in (9, 13, 14):
        save("activations_opset%d" % opset, nn.Sequential(
            conv(3, 17, 3, bias=False), bn(17), nn.Hardswish(), conv(17, 20, 1), nn.SiLU(),
            conv(20, 9, 1), nn.GELU(), conv(9, 12, 1), nn.Hardsigmoid(), conv(12, 12, 3), nn.ELU(),
            nn.Softplus(), conv(12, 6, 1), nn.PReLU(6), nn.LogSoftmax(1)), (1, 3, 11, 10), opset, opset > 9)
    save("channel_shuffle", Lambda(channel_shuffle, conv(8, 8, 1), conv(15, 6, 3)), (1, 16, 9, 11))
    for opset in (11, 17):
        save("transformer_opset%d" % opset, Lambda(
            transformer, conv(3, 12, 4, 4), nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12),
            nn.Linear(12, 48), nn.Linear(48, 12)), (1, 3, 16, 12), opset)
    save("upsampled", Lambda(upsampled, conv(3, 7, 1)), (1, 3, 5, 6))
    save("norms", nn.Sequential(
        conv(3, 12, 3), nn.GroupNorm(3, 12), nn.ReLU(), conv(12, 8, 1), nn.InstanceNorm2d(8, affine=True),
        conv(8, 8, 1), nn.PixelShuffle(2)), (1, 3, 9, 7))
    save("window_ends", Lambda(window_ends, conv(3, 5, 1)), (1, 3, 8, 11), 12)
    save("reductions", Lambda(lambda x, a: torch.cat([
        f(a(x).abs() + 0.1) for f in (
            lambda y: y.amax((2, 3)), lambda y: y.sum(1).flatten(1), lambda y: y.norm(2, 3).flatten(1),
            lambda y: y.amin(2).flatten(1), lambda y: y.pow(1.5).mean(3).flatten(1),
            lambda y: torch.maximum(y, y.roll(1, 3)).sqrt().log().mean((1, 2)))], 1),
        conv(3, 6, 1)), (1, 3, 5, 7), 13)
    save("wide_3x3", nn.Sequential(conv(16, 64, 1), conv(64, 64, 3, padding=1), nn.ReLU(),
                                   conv(64, 5, 1)), (1, 16, 15, 12))


def save_quantized():
    """QuantizeLinear and DequantizeLinear around a convolution, as quantizers write them."""
    generator = numpy.random.default_rng(5)
    weights = generator.integers(-128, 128, (6, 3, 3, 3)).astype(numpy.int8)
    scales = generator.uniform(0.001, 0.004, 6).astype(numpy.float32)
    arrays = {"xs": numpy.float32(0.008), "xz": numpy.uint8(120), "w": weights, "ws": scales,
              "wz": numpy.zeros(6, numpy.int8), "ys": numpy.float32(0.02), "yz": numpy.int8(-5)}
    node = helper.make_node
    nodes = [node("QuantizeLinear", ["x", "xs", "xz"], ["a"]),
             node("DequantizeLinear", ["a", "xs", "xz"], ["b"]),
             node("DequantizeLinear", ["w", "ws", "wz"], ["c"], axis=0),
             node("Conv", ["b", "c"], ["d"], pads=[1, 1, 1, 1]), node("Relu", ["d"], ["e"]),
             node("QuantizeLinear", ["e", "ys", "yz"], ["f"]),
             node("MaxPool", ["f"], ["g"], kernel_shape=[2, 2], strides=[2, 2]),
             node("DequantizeLinear", ["g", "ys", "yz"], ["y"])]
    shape = (1, 3, 8, 10)
    graph = helper.make_graph(
        nodes, "quantized", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 6, 4, 5))],
        [numpy_helper.from_array(numpy.asarray(v), k) for k, v in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    (HERE / "quantized.onnx").write_bytes(model.SerializeToString())
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    a = torch.clamp(torch.round(x / 0.008) + 120, 0, 255)
    w = torch.from_numpy(weights.astype(numpy.float32)) * torch.from_numpy(scales).view(6, 1, 1, 1)
    y = torch.relu(functional.conv2d((a - 120) * 0.008, w, padding=1))
    y = functional.max_pool2d(torch.clamp(torch.round(y / 0.02) - 5, -128, 127), 2)
    floats("quantized", x, (y + 5) * 0.02)


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
    new_operators()
    save_quantized()
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
