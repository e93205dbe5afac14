"""Writes ONNX networks that take seconds for one picture: what a hanging job looks like from outside."""
import struct


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """A protobuf field: an int, or bytes/str/message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, dims, raw):
    return b"".join(field(1, d) for d in dims) + field(2, 1) + field(8, name) + field(9, raw)


def ints(name, values):
    return field(5, field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7))


def node(kind, inputs, outputs, *attributes):
    return field(1, b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs) +
                 field(3, outputs[0]) + field(4, kind) + b"".join(attributes))


def value(name, dims):
    shape = b"".join(field(1, field(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def write(path, channels, kernel, layers, side=256):
    """`layers` convolutions kernel x kernel of `channels` to themselves on side x side pixels."""
    weight = struct.pack("<f", 1e-6) * (channels * channels * kernel * kernel)
    first = struct.pack("<f", 1e-3) * (channels * 3)
    body = node("Conv", ["input", "first"], ["x0"], ints("kernel_shape", [1, 1]))
    for i in range(layers):
        pads = [kernel // 2] * 4
        body += node("Conv", ["x%d" % i, "weight"], ["x%d" % (i + 1)],
                     ints("kernel_shape", [kernel, kernel]), ints("pads", pads))
    body += node("GlobalAveragePool", ["x%d" % layers], ["pooled"])
    body += node("Flatten", ["pooled"], ["scores"])
    graph = body + field(2, "slow")
    graph += field(5, tensor("first", [channels, 3, 1, 1], first))
    graph += field(5, tensor("weight", [channels, channels, kernel, kernel], weight))
    graph += field(11, value("input", [1, 3, side, side])) + field(12, value("scores", [1, channels]))
    model = field(1, 7) + field(7, graph) + field(8, field(1, "") + field(2, 13))
    with open(path, "wb") as f:
        f.write(model)
    return str(path)
