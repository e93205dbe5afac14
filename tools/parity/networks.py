"""One network of each common family of image classifiers, at its real size, with random weights.

Written from the papers, in the form that the usual PyTorch implementations have, since what is
compared is what their exports look like. make(NAME, seed) gives a module for inference and the side of
its input; `python3 networks.py` lists the names.
"""
import torch
from torch import nn
from torch.nn import functional


def conv_bn(inside, outside, kernel=1, stride=1, groups=1, act=nn.ReLU, padding=None, eps=1e-5):
    padding = (kernel - 1) // 2 if padding is None else padding
    layers = [nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False),
              nn.BatchNorm2d(outside, eps=eps)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    """body(x) + shortcut(x), then perhaps an activation."""

    def __init__(self, body, shortcut=None, act=None):
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut, act

    def forward(self, x):
        y = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return y if self.act is None else self.act(y)


class Head(nn.Module):
    """Mean over the picture, then a matrix; by pool and flatten, or by mean."""

    def __init__(self, inside, classes=1000, mean=False, hidden=0, act=None):
        super().__init__()
        self.mean = mean
        self.fc = nn.Linear(inside, classes) if hidden == 0 else nn.Sequential(
            nn.Linear(inside, hidden), act(), nn.Dropout(0.2), nn.Linear(hidden, classes))

    def forward(self, x):
        if self.mean:
            return self.fc(x.mean([2, 3]))
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def bottleneck(inside, middle, outside, stride):
    body = nn.Sequential(conv_bn(inside, middle), conv_bn(middle, middle, 3, stride),
                         conv_bn(middle, outside, act=None))
    same = inside == outside and stride == 1
    return Residual(body, None if same else conv_bn(inside, outside, 1, stride, act=None), nn.ReLU())


def basic_block(inside, outside, stride):
    body = nn.Sequential(conv_bn(inside, outside, 3, stride), conv_bn(outside, outside, 3, act=None))
    same = inside == outside and stride == 1
    return Residual(body, None if same else conv_bn(inside, outside, 1, stride, act=None), nn.ReLU())


def resnet50():
    layers, inside = [conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            layers.append(bottleneck(inside, width, 4 * width, stride if i == 0 else 1))
            inside = 4 * width
    return nn.Sequential(*layers, Head(2048))


def resnet18():
    layers, inside = [conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [basic_block(inside, width, stride), basic_block(width, width, 1)]
        inside = width
    return nn.Sequential(*layers, Head(512))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, middle, act, gate):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, middle, 1), nn.Conv2d(middle, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x):
        y = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.up(self.act(self.down(y))))


def inverted(inside, outside, kernel, stride, middle, act, squeeze=None, eps=1e-5):
    layers = [conv_bn(inside, middle, act=act, eps=eps)] if middle != inside else []
    layers.append(conv_bn(middle, middle, kernel, stride, middle, act, eps=eps))
    if squeeze:
        layers.append(SqueezeExcite(middle, *squeeze))
    layers.append(conv_bn(middle, outside, act=None, eps=eps))
    body = nn.Sequential(*layers)
    return Residual(body) if stride == 1 and inside == outside else body


def mobilenet_v2():
    layers, inside = [conv_bn(3, 32, 3, 2, act=nn.ReLU6)], 32
    for expand, outside, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                           (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(count):
            layers.append(inverted(inside, outside, 3, stride if i == 0 else 1, inside * expand,
                                   nn.ReLU6))
            inside = outside
    return nn.Sequential(*layers, conv_bn(320, 1280, act=nn.ReLU6), Head(1280))


def mobilenet_v3():
    layers, inside = [conv_bn(3, 16, 3, 2, act=nn.Hardswish, eps=1e-3)], 16
    for kernel, middle, outside, squeeze, act, stride in (
            (3, 16, 16, 0, nn.ReLU, 1), (3, 64, 24, 0, nn.ReLU, 2), (3, 72, 24, 0, nn.ReLU, 1),
            (5, 72, 40, 24, nn.ReLU, 2), (5, 120, 40, 32, nn.ReLU, 1), (5, 120, 40, 32, nn.ReLU, 1),
            (3, 240, 80, 0, nn.Hardswish, 2), (3, 200, 80, 0, nn.Hardswish, 1),
            (3, 184, 80, 0, nn.Hardswish, 1), (3, 184, 80, 0, nn.Hardswish, 1),
            (3, 480, 112, 120, nn.Hardswish, 1), (3, 672, 112, 168, nn.Hardswish, 1),
            (5, 672, 160, 168, nn.Hardswish, 2), (5, 960, 160, 240, nn.Hardswish, 1),
            (5, 960, 160, 240, nn.Hardswish, 1)):
        layers.append(inverted(inside, outside, kernel, stride, middle, act,
                               (squeeze, nn.ReLU, nn.Hardsigmoid) if squeeze else None, 1e-3))
        inside = outside
    return nn.Sequential(*layers, conv_bn(160, 960, act=nn.Hardswish, eps=1e-3),
                         Head(960, hidden=1280, act=nn.Hardswish))


def efficientnet_b0():
    layers, inside = [conv_bn(3, 32, 3, 2, act=nn.SiLU)], 32
    for expand, kernel, stride, outside, count in (
            (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
            (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)):
        for i in range(count):
            layers.append(inverted(inside, outside, kernel, stride if i == 0 else 1, inside * expand,
                                   nn.SiLU, (max(1, inside // 4), nn.SiLU, nn.Sigmoid)))
            inside = outside
    return nn.Sequential(*layers, conv_bn(320, 1280, act=nn.SiLU), Head(1280))


class DenseBlock(nn.Module):
    def __init__(self, inside, count, growth):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(
            nn.BatchNorm2d(inside + i * growth), nn.ReLU(),
            nn.Conv2d(inside + i * growth, 4 * growth, 1, bias=False), nn.BatchNorm2d(4 * growth),
            nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)) for i in range(count))

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


def densenet121():
    layers, channels = [conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for i, count in enumerate((6, 12, 24, 16)):
        layers.append(DenseBlock(channels, count, 32))
        channels += 32 * count
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        if i < 3:
            layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2, 2)]
            channels //= 2
    return nn.Sequential(*layers, Head(channels))


class Branches(nn.Module):
    """Side by side, joined along the channels."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([b(x) for b in self.branches], 1)


def inception_v3():
    def conv(inside, outside, kernel, stride=1, padding=0):
        return nn.Sequential(nn.Conv2d(inside, outside, kernel, stride, padding, bias=False),
                             nn.BatchNorm2d(outside, eps=1e-3), nn.ReLU())

    def pool(inside, outside):
        return nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(inside, outside, 1))

    def block_a(inside, pooled):
        return Branches(conv(inside, 64, 1),
                        nn.Sequential(conv(inside, 48, 1), conv(48, 64, 5, 1, 2)),
                        nn.Sequential(conv(inside, 64, 1), conv(64, 96, 3, 1, 1), conv(96, 96, 3, 1, 1)),
                        pool(inside, pooled))

    def block_c(middle):
        row = {"kernel": (1, 7), "padding": (0, 3)}
        column = {"kernel": (7, 1), "padding": (3, 0)}
        return Branches(
            conv(768, 192, 1),
            nn.Sequential(conv(768, middle, 1), conv(middle, middle, **row), conv(middle, 192, **column)),
            nn.Sequential(conv(768, middle, 1), conv(middle, middle, **column),
                          conv(middle, middle, **row), conv(middle, middle, **column),
                          conv(middle, 192, **row)), pool(768, 192))

    def block_e(inside):
        def cross():
            return Branches(conv(384, 384, (1, 3), 1, (0, 1)), conv(384, 384, (3, 1), 1, (1, 0)))
        return Branches(conv(inside, 320, 1), nn.Sequential(conv(inside, 384, 1), cross()),
                        nn.Sequential(conv(inside, 448, 1), conv(448, 384, 3, 1, 1), cross()),
                        pool(inside, 192))

    return nn.Sequential(
        conv(3, 32, 3, 2), conv(32, 32, 3), conv(32, 64, 3, 1, 1), nn.MaxPool2d(3, 2),
        conv(64, 80, 1), conv(80, 192, 3), nn.MaxPool2d(3, 2),
        block_a(192, 32), block_a(256, 64), block_a(288, 64),
        Branches(conv(288, 384, 3, 2),
                 nn.Sequential(conv(288, 64, 1), conv(64, 96, 3, 1, 1), conv(96, 96, 3, 2)),
                 nn.MaxPool2d(3, 2)),
        block_c(128), block_c(160), block_c(160), block_c(192),
        Branches(nn.Sequential(conv(768, 192, 1), conv(192, 320, 3, 2)),
                 nn.Sequential(conv(768, 192, 1), conv(192, 192, (1, 7), 1, (0, 3)),
                               conv(192, 192, (7, 1), 1, (3, 0)), conv(192, 192, 3, 2)),
                 nn.MaxPool2d(3, 2)),
        block_e(1280), block_e(2048), Head(2048))


def squeezenet():
    def fire(inside, squeeze, expand):
        return nn.Sequential(nn.Conv2d(inside, squeeze, 1), nn.ReLU(), Branches(
            nn.Sequential(nn.Conv2d(squeeze, expand, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU())))

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), fire(64, 16, 64), fire(128, 16, 64), pool(),
        fire(128, 32, 128), fire(256, 32, 128), pool(), fire(256, 48, 192), fire(384, 48, 192),
        fire(384, 64, 256), fire(512, 64, 256), nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten())


def vgg11(hidden=4096):
    layers, inside = [], 3
    for width, count in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
        for _ in range(count):
            layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
            inside = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(512 * 49, hidden),
                         nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(),
                         nn.Linear(hidden, 1000))


class ShuffleUnit(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        half = outside // 2
        self.stride = stride
        self.left = None if stride == 1 else nn.Sequential(
            conv_bn(inside, inside, 3, 2, inside, None), conv_bn(inside, half))
        self.right = nn.Sequential(conv_bn(half if stride == 1 else inside, half),
                                   conv_bn(half, half, 3, stride, half, None), conv_bn(half, half))

    def forward(self, x):
        if self.stride == 1:
            kept, changed = x.chunk(2, 1)
            x = torch.cat((kept, self.right(changed)), 1)
        else:
            x = torch.cat((self.left(x), self.right(x)), 1)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def shufflenet_v2():
    layers, inside = [conv_bn(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)], 24
    for outside, count in ((116, 4), (232, 8), (464, 4)):
        layers.append(ShuffleUnit(inside, outside, 2))
        layers += [ShuffleUnit(outside, outside, 1) for _ in range(count - 1)]
        inside = outside
    return nn.Sequential(*layers, conv_bn(464, 1024), Head(1024, mean=True))


def regnet_y_400mf():
    layers, inside = [conv_bn(3, 32, 3, 2)], 32
    for width, count in ((48, 1), (104, 3), (208, 6), (440, 6)):
        for i in range(count):
            stride = 2 if i == 0 else 1
            body = nn.Sequential(conv_bn(inside, width), conv_bn(width, width, 3, stride, width // 8),
                                 SqueezeExcite(width, inside // 4, nn.ReLU, nn.Sigmoid),
                                 conv_bn(width, width, act=None))
            shortcut = conv_bn(inside, width, 1, 2, act=None) if i == 0 else None
            layers.append(Residual(body, shortcut, nn.ReLU()))
            inside = width
    return nn.Sequential(*layers, Head(440))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an image."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.3))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.down(functional.gelu(self.up(y))).permute(0, 3, 1, 2)
        return x + y * self.scale


def convnext_tiny():
    layers, inside = [], 3
    for i, (width, count) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
        layers += ([nn.Conv2d(3, 96, 4, 4), ChannelNorm(96, eps=1e-6)] if i == 0 else
                   [ChannelNorm(inside, eps=1e-6), nn.Conv2d(inside, width, 2, 2)])
        layers += [ConvNextBlock(width) for _ in range(count)]
        inside = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), ChannelNorm(768, eps=1e-6), nn.Flatten(),
                         nn.Linear(768, 1000))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = torch.softmax((q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5, -1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, c))


class PackedAttention(nn.Module):
    """The same through PyTorch's own module, which exports otherwise."""

    def __init__(self, width, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class VisionTransformer(nn.Module):
    def __init__(self, width, depth, heads, attention, size=224, patch=16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(nn.Sequential(
            Residual(nn.Sequential(nn.LayerNorm(width, eps=1e-6), attention(width, heads))),
            Residual(nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 4 * width),
                                   nn.GELU(), nn.Linear(4 * width, width)))) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 1000)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


NETWORKS = {  # name: what makes it, side of its input
    "resnet50": (resnet50, 224),
    "resnet18": (resnet18, 224),
    "mobilenet_v2": (mobilenet_v2, 224),
    "mobilenet_v3": (mobilenet_v3, 224),
    "efficientnet_b0": (efficientnet_b0, 224),
    "densenet121": (densenet121, 224),
    "inception_v3": (inception_v3, 299),
    "squeezenet": (squeezenet, 224),
    "vgg11": (vgg11, 224),
    "vgg11_narrow": (lambda: vgg11(256), 224),  # without most of its 120 million last weights
    "shufflenet_v2": (shufflenet_v2, 224),
    "regnet_y_400mf": (regnet_y_400mf, 224),
    "convnext_tiny": (convnext_tiny, 224),
    "vit_s16": (lambda: VisionTransformer(384, 12, 6, Attention), 224),
    "vit_s16_packed": (lambda: VisionTransformer(384, 4, 6, PackedAttention), 224),
}


def randomise(model, side, seed):
    """Weights that keep activations near 1; the batch norms' statistics are those of noise, so that
    numbers stay in range however deep, and then disturbed."""
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.weight.data.normal_(0, (1.6 / m.weight[0].numel()) ** 0.5, generator=generator)
            if m.bias is not None:
                m.bias.data.normal_(0, 0.1, generator=generator)
        elif isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
            m.weight.data.uniform_(0.6, 1.4, generator=generator)
            m.bias.data.normal_(0, 0.2, generator=generator)
    if norms:
        for m in norms:
            m.momentum = 1.0
        model.train()
        with torch.no_grad():
            model(torch.rand((2, 3, side, side), generator=generator) * 2 - 1)
        for m in norms:
            m.running_mean += 0.1 * m.running_var.sqrt() * torch.randn(m.running_mean.shape,
                                                                       generator=generator)
            m.running_var *= 0.8 + 0.4 * torch.rand(m.running_var.shape, generator=generator)
    return model.eval()


def make(name, seed=1):
    """(module in evaluation mode, side of its input)"""
    function, side = NETWORKS[name]
    torch.manual_seed(seed)
    return randomise(function(), side, seed), side


if __name__ == "__main__":
    print("\n".join(NETWORKS))
