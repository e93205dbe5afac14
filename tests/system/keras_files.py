"""Xception's weights as Keras 1, 2 and 3 write them into files, made here with h5py: for tests.

A set of weights is {layer: {weight: array}} with Keras' names and shapes, in the order of the graph; the
four convolutions beside the pools are called block2_residual and so on.
"""
import io
import random
import zipfile

import h5py
import numpy

STANDARD = (32, 64, 128, 256, 728, 1024, 1536, 2048)
TINY = (2, 3, 4, 5, 6, 7, 8, 9)


def layers(width=STANDARD, classes=1000):
    """[(name, kind, {weight: shape})], in the order of the graph."""
    out = []

    def conv(name, side, inside, outside):
        out.append((name, "conv", {"kernel": (side, side, inside, outside)}))
        norm(name + "_bn", outside)

    def norm(name, channels):
        out.append((name, "norm", {w: (channels,) for w in (
            "gamma", "beta", "moving_mean", "moving_variance")}))

    def separable(name, inside, outside):
        out.append((name, "separable", {"depthwise_kernel": (3, 3, inside, 1),
                                        "pointwise_kernel": (1, 1, inside, outside)}))
        norm(name + "_bn", outside)

    def down(block, inside, middle, outside):
        separable("block%d_sepconv1" % block, inside, middle)
        separable("block%d_sepconv2" % block, middle, outside)
        conv("block%d_residual" % block, 1, inside, outside)

    conv("block1_conv1", 3, 3, width[0])
    conv("block1_conv2", 3, width[0], width[1])
    for block in (2, 3, 4):
        down(block, width[block - 1], width[block], width[block])
    for block in range(5, 13):
        for i in (1, 2, 3):
            separable("block%d_sepconv%d" % (block, i), width[4], width[4])
    down(13, width[4], width[4], width[5])
    separable("block14_sepconv1", width[5], width[6])
    separable("block14_sepconv2", width[6], width[7])
    out.append(("predictions", "dense", {"kernel": (width[7], classes), "bias": (classes,)}))
    return out


def random_weights(seed=1, width=STANDARD, classes=1000):
    """Weights with which activations stay near 1, and statistics unlike the identity."""
    generator = numpy.random.default_rng(seed)
    out = {}
    for name, kind, shapes in layers(width, classes):
        weights = out[name] = {}
        for weight, shape in shapes.items():
            if weight in ("gamma", "moving_variance"):
                values = generator.uniform(0.6, 1.4, shape)
            elif weight in ("beta", "moving_mean", "bias"):
                values = generator.normal(0, 0.2, shape)
            else:
                fan_in = numpy.prod(shape[:3]) if weight != "depthwise_kernel" else 9
                values = generator.standard_normal(shape, numpy.float32)
                values *= (1.5 / (shape[0] if kind == "dense" else fan_in)) ** 0.5
            weights[weight] = values.astype(numpy.float32)
    return out


def kind_of(name):
    if name == "predictions":
        return "dense"
    return "norm" if name.endswith("_bn") else "separable" if "sepconv" in name else "conv"


def made_order(names):
    """The order in which Keras' code makes the layers: the residual ones before their block's others."""
    def key(pair):
        number, name = pair
        residual = "_residual" in name
        block = int(name.split("_")[0][5:]) if name != "predictions" else 99
        return (block, 0 if residual else 1, number)
    return [name for _, name in sorted(enumerate(names), key=key)]


def shuffled(items, shuffle):
    items = list(items)
    if shuffle is not None:
        random.Random(shuffle).shuffle(items)
    return items


def write_keras1(path, weights, shuffle=None, start=1, libver=None):
    """Like the official file: convolution2d_3/convolution2d_3_W:0, numbered as made."""
    classes = {"conv": "convolution2d", "separable": "separableconvolution2d",
               "norm": "batchnormalization", "dense": "dense"}
    names = {"kernel": "W", "bias": "b", "moving_mean": "running_mean",
             "moving_variance": "running_std"}
    count = dict.fromkeys(classes, start)
    count["dense"] = start + 1  # there it is dense_2
    groups = []
    for name in made_order(weights):
        kind = kind_of(name)
        groups.append(("%s_%d" % (classes[kind], count[kind]), weights[name]))
        count[kind] += 1
    with h5py.File(path, "w", libver=libver) as f:
        f.attrs["layer_names"] = [g.encode() for g, _ in groups]
        for group_name, layer in shuffled(groups, shuffle):
            group = f.create_group(group_name)
            full = ["%s_%s:0" % (group_name, names.get(w, w)) for w in layer]
            group.attrs["weight_names"] = [n.encode() for n in full]
            for n, values in shuffled(zip(full, layer.values()), shuffle):
                group[n] = values


def keras2_names(weights, start=0):
    """{our name: Keras 2's}: the residual layers are conv2d, conv2d_1, … in the order of making."""
    out = {}
    count = {"conv": start, "norm": start}
    for name in weights:
        kind = kind_of(name)
        if "_residual" in name:
            prefix = "conv2d" if kind == "conv" else "batch_normalization"
            out[name] = prefix + ("_%d" % count[kind] if count[kind] else "")
            count[kind] += 1
        else:
            out[name] = name
    return out


def write_keras2(path, weights, shuffle=None, start=0, full_model=False, suffix=":0", **options):
    """save_weights of Keras 2; full_model: model.save, under model_weights and with an optimizer."""
    names = keras2_names(weights, start)
    with h5py.File(path, "w") as f:
        root = f.create_group("model_weights") if full_model else f
        root.attrs["layer_names"] = [names[n].encode() for n in weights]
        root.attrs["backend"] = b"tensorflow"
        for name in shuffled(weights, shuffle):
            group = root.create_group(names[name])
            for weight, values in shuffled(weights[name].items(), shuffle):
                group.create_dataset("%s/%s%s" % (names[name], weight, suffix), data=values, **options)
        for name in ("block1_conv1_act", "avg_pool", "add"):
            root.create_group(name)
        if full_model:
            f.attrs["model_config"] = b"{}"
            f["optimizer_weights/Adam/iterations:0"] = numpy.int64(7)
            f["optimizer_weights/Adam/block1_conv1/kernel/m:0"] = numpy.zeros((3, 3, 3, 32), "f4")
            root.create_group("top_level_model_weights")


def keras3_hdf5(weights, shuffle=None, parent="layers", dtype="f4", libver=None):
    """model.weights.h5 of Keras 3: layers/separable_conv2d_2/vars/1, numbered in the graph's order."""
    classes = {"conv": "conv2d", "separable": "separable_conv2d", "norm": "batch_normalization",
               "dense": "dense"}
    count = dict.fromkeys(classes, 0)
    groups = []
    for name in weights:
        kind = kind_of(name)
        number = "_%d" % count[kind] if count[kind] else ""
        groups.append((classes[kind] + number, weights[name]))
        count[kind] += 1
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as f:
        for name, layer in shuffled(groups, shuffle):
            for i, values in shuffled(enumerate(layer.values()), shuffle):
                f["%s/%s/vars/%d" % (parent, name, i)] = values.astype(dtype)
        f.create_group("layers/activation/vars")
        f["optimizer/vars/0"] = numpy.int64(7)
    return file.getvalue()


def write_keras3(path, weights, shuffle=None, compression=zipfile.ZIP_STORED, **options):
    """model.save("x.keras") of Keras 3."""
    with zipfile.ZipFile(path, "w", compression) as z:
        z.writestr("metadata.json", '{"keras_version": "3.3.3"}')
        z.writestr("config.json", '{"module": "keras.src.models.functional"}')
        with z.open("model.weights.h5", "w", force_zip64=True) as out:
            out.write(keras3_hdf5(weights, shuffle, **options))
