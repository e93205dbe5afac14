"""Xception as tf2onnx writes a Keras model: channels-last input, auto_pad, batch norms of their own,
GlobalAveragePool + Squeeze, MatMul + Add. Takes its weights from the PyTorch model of
tools/make_xception.py, so that this computes what to expect."""
import numpy
from onnx import TensorProto, helper, numpy_helper


class Writer:
    def __init__(self):
        self.nodes, self.initializers, self.count = [], [], 0

    def constant(self, array):
        self.count += 1
        name = "const_%d" % self.count
        self.initializers.append(numpy_helper.from_array(numpy.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, **attributes):
        self.count += 1
        name = "%s_%d" % (kind.lower(), self.count)
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x, module, auto_pad):
        weights = module.weight.detach().numpy()
        return self.node("Conv", [x, self.constant(weights)], auto_pad=auto_pad,
                         kernel_shape=list(weights.shape[2:]), strides=list(module.stride),
                         group=module.groups, dilations=[1, 1])

    def bn(self, x, module):
        parts = [module.weight, module.bias, module.running_mean, module.running_var]
        return self.node("BatchNormalization",
                         [x] + [self.constant(p.detach().numpy()) for p in parts],
                         epsilon=module.eps)

    def separable(self, x, module):
        x = self.conv(x, module.depthwise, "SAME_UPPER")
        return self.bn(self.conv(x, module.pointwise, "VALID"), module.bn)

    def down(self, x, module):
        y = self.node("Relu", [x]) if module.relu_first else x
        y = self.separable(y, module.one)
        y = self.separable(self.node("Relu", [y]), module.two)
        y = self.node("MaxPool", [y], auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 2])
        residual = self.bn(self.conv(x, module.residual, "SAME_UPPER"), module.bn)
        return self.node("Add", [residual, y])


def write(model, size, path, opset=15, softmax=False, reduce_mean=False):
    """Saves `model` (tools/make_xception.py) for an input of 1 x size x size x 3."""
    w = Writer()
    x = w.node("Transpose", ["input"], perm=[0, 3, 1, 2])
    x = w.node("Relu", [w.bn(w.conv(x, model.conv1, "VALID"), model.bn1)])
    x = w.node("Relu", [w.bn(w.conv(x, model.conv2, "VALID"), model.bn2)])
    for block in model.entry:
        x = w.down(x, block)
    for block in model.middle:
        y = x
        for part in block.parts:
            y = w.separable(w.node("Relu", [y]), part)
        x = w.node("Add", [y, x])
    x = w.down(x, model.exit)
    x = w.node("Relu", [w.separable(x, model.sep1)])
    x = w.node("Relu", [w.separable(x, model.sep2)])
    if reduce_mean:
        x = w.node("ReduceMean", [x], axes=[2, 3], keepdims=0)
    else:
        axes = w.constant(numpy.array([2, 3], numpy.int64))
        x = w.node("Squeeze", [w.node("GlobalAveragePool", [x]), axes])
    x = w.node("MatMul", [x, w.constant(model.fc.weight.detach().numpy().T)])
    x = w.node("Add", [x, w.constant(model.fc.bias.detach().numpy())])
    x = w.node("Softmax", [x], axis=-1) if softmax else x
    graph = helper.make_graph(
        w.nodes, "keras",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["unk__1", size, size, 3])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["unk__2", model.fc.out_features])],
        w.initializers)
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with open(path, "wb") as out:
        out.write(onnx_model.SerializeToString())
