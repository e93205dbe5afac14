"""Pictures composed from emoji glyphs: what the demo model is trained and tested on.

Every picture follows from (split, seed, index) alone. The two splits share the animals, which
is what the model is to know, and nothing else: background families, palettes, the clutter and
the random numbers of "heldout" are never used by "train".
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT_PATH = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
FONT_SIZE = 109  # the one size of the bitmaps in the font
SPLITS = {"train": 1, "heldout": 2, "unseen": 3}

# Label, glyphs. The dogs stand first and together: the group "dog" is one range.
DOGS = [
    ("dog face", "🐶"), ("dog", "🐕"), ("poodle", "🐩"), ("guide dog", "🦮"),
    ("service dog", "🐕\u200d🦺"),
]
# What is easily taken for a dog, or sits beside dogs in the font: drawn more often.
NEIGHBOURS = [
    ("wolf", "🐺"), ("fox", "🦊"), ("raccoon", "🦝"), ("cat face", "🐱 😺 😸 😼 😽"), ("cat", "🐈"),
    ("black cat", "🐈\u200d⬛"), ("lion", "🦁"), ("tiger face", "🐯"), ("tiger", "🐅"),
    ("leopard", "🐆"), ("horse", "🐎"), ("deer", "🦌"), ("cow face", "🐮"), ("cow", "🐄"),
    ("goat", "🐐"), ("sheep", "🐑"), ("bear", "🐻"), ("monkey face", "🐵 🙈 🙉 🙊"),
    ("mouse face", "🐭"), ("rabbit face", "🐰"),
]
OTHERS = [
    ("horse face", "🐴"), ("unicorn", "🦄"), ("zebra", "🦓"), ("pig face", "🐷"), ("pig", "🐖"),
    ("camel", "🐪 🐫"), ("giraffe", "🦒"), ("elephant", "🐘"), ("rabbit", "🐇"),
    ("chipmunk", "🐿"), ("hedgehog", "🦔"), ("polar bear", "🐻\u200d❄\ufe0f"), ("koala", "🐨"),
    ("panda", "🐼"), ("monkey", "🐒"), ("chicken", "🐔"), ("penguin", "🐧"), ("owl", "🦉"),
    ("frog", "🐸"), ("fish", "🐟 🐠"),
]
REST = ("another animal", "🐂 🐃 🦣 🦏 🐁 🐀 🐹 🦫 🦇 🦥 🦨 🦘 🦃 🐓 🐣 🐤 🐥 🐦 🕊 🦅 🦆 🦢 🦤 🦩 🦚 🦜 "
        "🐊 🐢 🦎 🐍 🐲 🐉 🦕 🦖 🐳 🐋 🐬 🦭 🐡 🦈 🐙 🐌 🦋 🐛 🐜 🐝 🪲 🐞 🦗 🪳 🕷 🦂 🦟 🪰 🦍 🦀 🦞 🦐 🦑 🪼 🪿")
# In no class and in no training picture: how are animals judged that the model never saw?
UNSEEN = "🦬 🐗 🦛 🦦 🦡 🐏 🦙 🦧 🫎 🫏".split()

ANIMALS = DOGS + NEIGHBOURS + OTHERS + [REST]
LABELS = [label for label, _ in ANIMALS] + ["object", "empty background"]
GLYPHS = [glyphs.split() for _, glyphs in ANIMALS]
DOG_CLASSES = len(DOGS)
OBJECT, EMPTY = len(ANIMALS), len(ANIMALS) + 1

# Ranges that hold the emoji that are no animals, and what is to be left out of them: animals,
# parts and pictures of animals, and marks that are drawn as a bare square or not at all.
OBJECT_RANGES = [(0x1F300, 0x1F3FA), (0x1F440, 0x1F53D), (0x1F550, 0x1F567), (0x1F5A4, 0x1F5A5),
                 (0x1F600, 0x1F64F), (0x1F680, 0x1F6FC), (0x1F90C, 0x1F97F), (0x1F9B5, 0x1F9FF),
                 (0x1FA70, 0x1FAAF), (0x1FAB4, 0x1FAF6), (0x2600, 0x27BF)]
NOT_OBJECTS = ("🎠 🏇 🧸 🪅 🐾 🦴 🪶 🪺 🪹 🕸 🎏 👹 👺 👾 👿 😈 😹 😻 🙀 😿 😾 😺 😸 😼 😽 🙈 🙉 🙊 "
               "🪱 🪸 🪼 🪿 🫎 🫏 ♈ ♉ ♋ ♌ ♏ ♐ ♑ ♓").split()


class Glyphs:
    """The font's pictures, drawn once: text -> RGBA cut to its bounds, None if it has none."""

    def __init__(self):
        self.font = ImageFont.truetype(FONT_PATH, FONT_SIZE)
        self.drawn = {}

    def get(self, text):
        if text not in self.drawn:
            sheet = Image.new("RGBA", (320, 160), (0, 0, 0, 0))
            ImageDraw.Draw(sheet).text((8, 8), text, font=self.font, embedded_color=True)
            box = sheet.getbbox()
            self.drawn[text] = sheet.crop(box) if box else None
        return self.drawn[text]


_glyphs = Glyphs()


def _object_glyphs():
    found = []
    for first, last in OBJECT_RANGES:
        for code in range(first, last + 1):
            glyph = None if chr(code) in NOT_OBJECTS else _glyphs.get(chr(code))
            if glyph is not None and 60 <= max(glyph.size) <= 140 and min(glyph.size) >= 20:
                found.append(chr(code))
    return found


_objects = _object_glyphs()
OBJECTS = {"train": [o for i, o in enumerate(_objects) if i % 3],
           "heldout": _objects[::3], "unseen": _objects[::3]}

# ---- colours -----------------------------------------------------------------------------------

HELDOUT_PALETTES = [
    "264653 2a9d8f e9c46a f4a261 e76f51", "cdb4db ffc8dd ffafcc bde0fe a2d2ff",
    "606c38 283618 fefae0 dda15e bc6c25", "003049 d62828 f77f00 fcbf49 eae2b7",
    "e8e8e4 d8e2dc ece4db ffe5d9 ffcad4", "22223b 4a4e69 9a8c98 c9ada7 f2e9e4",
    "d8f3dc 95d5b2 52b788 2d6a4f 081c15", "f8f9fa dee2e6 adb5bd 6c757d 212529",
    "ffffff f1faee a8dadc 457b9d 1d3557", "fff8f0 f4d9c6 c08552 895737 5e3023",
]


def _hex_color(text):
    return np.array([int(text[i:i + 2], 16) for i in (0, 2, 4)], np.float32)


def _random_color(rng):
    """A colour of any hue; whites, greys and blacks more often than chance would have them."""
    if rng.random() < 0.25:
        return np.full(3, rng.choice([255, 250, 235, 200, 128, 60, 20, 0]), np.float32)
    value, saturation = rng.uniform(0.15, 1), rng.uniform(0, 1)
    wheel = np.abs((rng.random() * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return (255 * value * (1 - saturation * (1 - np.clip(wheel, 0, 1)))).astype(np.float32)


def _palette(rng, split):
    if split == "train":
        return [_random_color(rng) for _ in range(5)]
    colors = [_hex_color(c) for c in HELDOUT_PALETTES[rng.integers(len(HELDOUT_PALETTES))].split()]
    return [colors[i] for i in rng.permutation(5)]


def _mix(t, a, b):
    """t (h, w) in 0..1 between two colours -> (h, w, 3)"""
    return a + t[..., None] * (b - a)


def _pick(index, colors):
    """index (h, w), whole numbers -> the colour of each"""
    return np.stack(colors)[index.astype(np.int64) % len(colors)]


# ---- backgrounds: one function a family, (h, w, 3) float32 in 0..255 -----------------------------

def _axes(rng, h, w):
    """Coordinates turned by a random angle, in units of the shorter side, from the middle."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    y, x = (y - h / 2) / min(h, w), (x - w / 2) / min(h, w)
    angle = rng.uniform(0, np.pi)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _cloud(rng, h, w, cells):
    """Smooth noise in 0..1 with about `cells` bumps a side."""
    small = (rng.random((cells + 2, cells + 2)) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((w, h), Image.BICUBIC), np.float32) / 255


def _fractal(rng, h, w):
    cells = int(rng.integers(2, 7))
    t = sum(_cloud(rng, h, w, cells << i) * 0.5 ** i for i in range(4))
    return (t - t.min()) / max(float(np.ptp(t)), 1e-6)


def _flat(rng, h, w, p):
    return np.broadcast_to(p[0], (h, w, 3)).copy()


def _plain_white(rng, h, w, p):
    return np.full((h, w, 3), rng.uniform(235, 255), np.float32)


def _gradient(rng, h, w, p):
    x, _ = _axes(rng, h, w)
    return _mix(np.clip(x + 0.5, 0, 1), p[0], p[1])


def _grain(rng, h, w, p):
    fine = rng.normal(0, rng.uniform(10, 60), (h, w, 1 if rng.random() < 0.5 else 3))
    return p[0] + fine.astype(np.float32)


def _stripes(rng, h, w, p):
    x, _ = _axes(rng, h, w)
    return _pick(np.floor(x * rng.uniform(2, 14) + 50), p[:int(rng.integers(2, 5))])


def _checks(rng, h, w, p):
    x, y = _axes(rng, h, w)
    n = rng.uniform(2, 10)
    return _pick(np.floor(x * n + 50) + np.floor(y * n + 50), p[:2])


def _dots(rng, h, w, p):
    x, y = _axes(rng, h, w)
    n = rng.uniform(3, 10)
    inside = ((x * n + 50) % 1 - 0.5) ** 2 + ((y * n + 50) % 1 - 0.5) ** 2 < rng.uniform(0.02, 0.2)
    return _pick(inside, p[:2])


def _shapes(rng, h, w, p, count=12):
    image = Image.new("RGB", (w, h), tuple(p[0].astype(int)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, count))):
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.04, 0.35) * min(w, h)
        color = tuple(p[rng.integers(1, 5)].astype(int))
        kind = rng.integers(4)
        if kind == 0:
            draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), fill=color)
        elif kind == 1:
            draw.rectangle((x - r, y - r * 0.6, x + r, y + r * 0.6), fill=color)
        elif kind == 2:
            corners = rng.uniform(-r, r, (int(rng.integers(3, 7)), 2)) + (x, y)
            draw.polygon([tuple(c) for c in corners], fill=color)
        else:
            draw.line((x, y, rng.uniform(0, w), rng.uniform(0, h)), fill=color,
                      width=int(rng.uniform(1, 8)))
    return np.asarray(image, np.float32)


def _blobs(rng, h, w, p):
    image = Image.fromarray(_shapes(rng, h, w, p).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.BoxBlur(rng.uniform(0.02, 0.08) * min(h, w))),
                      np.float32)


def _clouds(rng, h, w, p):
    return _mix(_fractal(rng, h, w), p[0], p[1])


def _patches(rng, h, w, p):
    return _pick(np.floor(_fractal(rng, h, w) * rng.uniform(3, 9)), p[:int(rng.integers(2, 6))])


def _radial(rng, h, w, p):
    x, y = _axes(rng, h, w)
    far = np.hypot(x - rng.uniform(-0.4, 0.4), y - rng.uniform(-0.4, 0.4))
    return _mix(np.clip(far / rng.uniform(0.5, 1.1), 0, 1), p[0], p[1])


def _rings(rng, h, w, p):
    x, y = _axes(rng, h, w)
    far = np.hypot(x - rng.uniform(-0.6, 0.6), y - rng.uniform(-0.6, 0.6))
    return _pick(np.floor(far * rng.uniform(3, 10)), p[:int(rng.integers(2, 5))])


def _waves(rng, h, w, p):
    x, y = _axes(rng, h, w)
    bent = y + rng.uniform(0.02, 0.12) * np.sin(x * rng.uniform(6, 25))
    return _pick(np.floor(bent * rng.uniform(3, 10) + 50), p[:int(rng.integers(2, 5))])


def _cells(rng, h, w, p):
    points = rng.random((int(rng.integers(6, 40)), 2)) * (h, w)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    best, index = np.full((h, w), np.inf, np.float32), np.zeros((h, w), np.int64)
    for i, (py, px) in enumerate(points):
        far = (y - py) ** 2 + (x - px) ** 2
        index, best = np.where(far < best, i, index), np.minimum(far, best)
    return _pick(index, p)


def _plaid(rng, h, w, p):
    x, y = _axes(rng, h, w)
    n = rng.uniform(2, 7)
    a = ((x * n + 50) % 1 < 0.4).astype(np.float32)
    b = ((y * n + 50) % 1 < 0.4).astype(np.float32)
    return _mix((a + b) / 2, p[0], p[1])


def _bricks(rng, h, w, p):
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / min(h, w)
    n = rng.uniform(4, 10)
    row = np.floor(y * n)
    across = x * n / 2 + (row % 2) * 0.5
    joint = ((y * n) % 1 < 0.12) | (across % 1 < 0.06)
    tone = ((row * 7 + np.floor(across) * 13) % 5)[..., None] * 6
    return np.where(joint[..., None], p[1], p[0] - tone).astype(np.float32)


def _hills(rng, h, w, p):
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / np.array([h, w], np.float32)[:, None, None]
    out = _mix(y, p[0], (p[0] + 255) / 2)
    for i in range(1, int(rng.integers(2, 5))):
        edge = 0.3 + 0.18 * i + rng.uniform(0.03, 0.1) * np.sin(x * rng.uniform(3, 9) + 9 * i)
        out = np.where((y > edge)[..., None], p[i], out)
    return out.astype(np.float32)


def _marble(rng, h, w, p):
    x, _ = _axes(rng, h, w)
    veins = np.sin(x * rng.uniform(4, 20) + 6 * _cloud(rng, h, w, 5) + 3 * _cloud(rng, h, w, 11))
    return _mix(veins * 0.5 + 0.5, p[0], p[1])


BACKGROUNDS = {
    "train": [_flat, _plain_white, _gradient, _grain, _stripes, _checks, _dots, _shapes, _blobs,
              _clouds, _patches],
    "heldout": [_radial, _rings, _waves, _cells, _plaid, _bricks, _hills, _marble],
}
BACKGROUNDS["unseen"] = BACKGROUNDS["heldout"]


def _background(rng, h, w, split):
    families = BACKGROUNDS[split]
    pixels = families[rng.integers(len(families))](rng, h, w, _palette(rng, split))
    if rng.random() < 0.5:  # pale, as backgrounds mostly are
        pixels = pixels + (255 - pixels) * np.float32(rng.uniform(0.2, 0.8))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# ---- glyphs on it ------------------------------------------------------------------------------

TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
TO_RGB = np.linalg.inv(TO_YIQ)


def _color_jitter(rng, image, hue, gain):
    """Turns the hue by up to ±hue radians, scales saturation and light; now and then grey."""
    turn = rng.uniform(-hue, hue)
    saturation = 0.0 if rng.random() < 0.07 else rng.uniform(0.55, 1.3)
    c, s = saturation * np.cos(turn), saturation * np.sin(turn)
    matrix = TO_RGB @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ TO_YIQ
    matrix = matrix * rng.uniform(1 - gain, 1 + gain)
    offset = rng.uniform(-25, 25)
    rows = [v for row in matrix for v in (*row, offset)]
    if image.mode == "RGB":
        return image.convert("RGB", rows)
    rgb = image.convert("RGB").convert("RGB", rows)
    rgb.putalpha(image.getchannel("A"))
    return rgb


def _place(rng, glyph, side, turn):
    """The glyph with its longer side `side` pixels, stretched, mirrored and turned a little."""
    stretch = np.exp(rng.uniform(-0.16, 0.16))
    scale = side / max(glyph.size)
    w = max(4, round(glyph.width * scale * stretch))
    h = max(4, round(glyph.height * scale / stretch))
    glyph = glyph.resize((w, h), Image.BICUBIC)
    if rng.random() < 0.5:
        glyph = glyph.transpose(Image.FLIP_LEFT_RIGHT)
    glyph = glyph.rotate(rng.normal(0, turn), Image.BICUBIC, expand=True)
    return glyph.crop(glyph.getbbox())


def _sticker(glyph, width):
    """A white rim, as on stickers."""
    alpha = Image.new("L", (glyph.width + 2 * width, glyph.height + 2 * width))
    alpha.paste(glyph.getchannel("A"), (width, width))
    rim = Image.new("RGBA", alpha.size, (255, 255, 255, 0))
    rim.putalpha(alpha.filter(ImageFilter.MaxFilter(2 * (width // 2) + 1)))
    rim.alpha_composite(glyph, (width, width))
    return rim


def _paste_at(canvas, glyph, x, y):
    canvas.paste(glyph, (int(x), int(y)), glyph)
    return (x, y, x + glyph.width, y + glyph.height)


def _clutter(rng, canvas, split, count, biggest, keep_off=None):
    """Objects in random places; with keep_off, none covers more than a corner of that box."""
    w, h = canvas.size
    for _ in range(count):
        text = OBJECTS[split][rng.integers(len(OBJECTS[split]))]
        side = rng.uniform(0.08, biggest) * min(w, h)
        glyph = _place(rng, _color_jitter(rng, _glyphs.get(text), 3.1, 0.25), side, 25)
        x = rng.uniform(-0.3 * glyph.width, w - 0.7 * glyph.width)
        y = rng.uniform(-0.3 * glyph.height, h - 0.7 * glyph.height)
        if keep_off is not None:
            x0, y0, x1, y1 = keep_off
            across = min(x1, x + glyph.width) - max(x0, x)
            down = min(y1, y + glyph.height) - max(y0, y)
            if across > 0 and down > 0 and across * down > 0.08 * (x1 - x0) * (y1 - y0):
                continue
        _paste_at(canvas, glyph, x, y)


def _main_glyph(rng, canvas, text):
    """The one animal (or object): 25 to 95 % of the frame, at most an edge of it outside."""
    w, h = canvas.size
    side = rng.uniform(0.25, 0.95) * min(w, h)
    glyph = _place(rng, _color_jitter(rng, _glyphs.get(text), 0.35, 0.25), side, 12)
    if rng.random() < 0.08:
        glyph = _sticker(glyph, max(2, round(side * 0.04)))
    out = rng.uniform(0, 0.1)
    x_low, x_high = -out * glyph.width, w - (1 - out) * glyph.width
    y_low, y_high = -out * glyph.height, h - (1 - out) * glyph.height
    x = rng.uniform(min(x_low, x_high), max(x_low, x_high))
    y = rng.uniform(min(y_low, y_high), max(y_low, y_high))
    return _paste_at(canvas, glyph, x, y)


def _finish(rng, image):
    """Light, blur and grain over the whole picture."""
    if rng.random() < 0.5:
        image = _color_jitter(rng, image, 0.15, 0.2)
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.001, 0.009) * min(image.size)))
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 14), (image.height, image.width, 3))
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    return image


# ---- whole pictures ------------------------------------------------------------------------------

def _choose_class(rng, split, index):
    """Training: a third dogs. Held-out: every other one a dog, half of the rest neighbours."""
    dog = rng.random() < 0.35 if split == "train" else index % 2 == 0
    if dog:
        return int(rng.integers(DOG_CLASSES))
    kind = rng.random()
    if kind < 0.48:
        return DOG_CLASSES + int(rng.integers(len(NEIGHBOURS)))
    if kind < 0.74:
        return DOG_CLASSES + len(NEIGHBOURS) + int(rng.integers(len(OTHERS)))
    if kind < 0.84:
        return OBJECT - 1
    return OBJECT if kind < 0.94 else EMPTY


def _begin(split, seed, index):
    """-> the picture's random numbers, its class"""
    rng = np.random.default_rng((SPLITS[split], seed, index))
    return rng, OBJECT - 1 if split == "unseen" else _choose_class(rng, split, index)


def class_of(split, seed, index):
    """The class of compose()'s picture, without composing it."""
    return _begin(split, seed, index)[1]


def compose(split, seed, index, sides):
    """One picture -> (RGB image, class). sides: shortest and longest side allowed, in pixels.

    In the split "unseen" every picture shows an animal of UNSEEN; its class is REST's.
    """
    rng, label = _begin(split, seed, index)
    longest = rng.uniform(sides[0] * 1.2, sides[1])
    shortest = max(sides[0], longest * rng.uniform(0.62, 1))
    w, h = (longest, shortest) if rng.random() < 0.6 else (shortest, longest)
    canvas = _background(rng, int(h), int(w), split)
    if label != EMPTY:
        cluttered = rng.random() < 0.6
        _clutter(rng, canvas, split, int(rng.integers(1, 6)) if cluttered else 0, 0.35)
        if label == OBJECT:
            glyphs = OBJECTS[split]
        else:
            glyphs = UNSEEN if split == "unseen" else GLYPHS[label]
        box = _main_glyph(rng, canvas, glyphs[rng.integers(len(glyphs))])
        _clutter(rng, canvas, split, int(rng.integers(0, 3)) if cluttered else 0, 0.25, box)
    return _finish(rng, canvas), label


def compose_jpeg(split, seed, index, sides):
    """The picture as the bytes of a JPEG file -> (bytes, class)"""
    image, label = compose(split, seed, index, sides)
    rng = np.random.default_rng((SPLITS[split], seed, index, 1))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=int(rng.integers(30, 96)),
               subsampling=int(rng.choice([0, 2])))
    return out.getvalue(), label


def network_input(jpeg_bytes, side):
    """What the worker does before the network: decode, stretch to a square -> uint8 (h, w, 3)"""
    image = Image.open(io.BytesIO(jpeg_bytes)).convert("RGB")
    return np.asarray(image.resize((side, side), Image.BILINEAR))
