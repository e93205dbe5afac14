#!/usr/bin/python3
"""Writes the pictures of the unit tests, and beside each what must come out of it (a .ppm).

Needs Debian's python3-pil and python3-numpy. The files are committed; run this only to change them.
PNGs and EXIF blocks are put together by hand, because Pillow does not write all their kinds.
"""
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 23, 17
KERAS = 13, 11  # width, height of the tensors in keras/


def scene(width, height):
    """Gradients, a corner mark and stripes: no two orientations of it look alike."""
    y, x = np.mgrid[0:height, 0:width]
    red = x * 255 // max(width - 1, 1)
    green = y * 255 // max(height - 1, 1)
    blue = 255 - (x + y) * 255 // (width + height)
    rgb = np.stack([red, green, blue], -1).astype(np.uint8)
    rgb[: height // 3, : width // 3] = (255, 20, 20)
    rgb[-height // 4:, ::4] = (20, 200, 60)
    return rgb


def write(name, data):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)


def write_ppm(name, rgb):
    rgb = np.ascontiguousarray(rgb, np.uint8)
    write(name, b"P6\n%d %d\n255\n" % (rgb.shape[1], rgb.shape[0]) + rgb.tobytes())


def picture(name, data, expected=None):
    """The file and its expectation; without one, what Pillow reads."""
    write(name, data)
    if expected is None:
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    write_ppm(name + ".ppm", expected)
    write("keras/" + name + ".f32", keras(data).astype("<f4").tobytes())


def keras(data):
    """What Keras' load_img(target_size), img_to_array and Xception's preprocess_input do."""
    image = Image.open(io.BytesIO(data))
    if image.mode != "RGB":
        image = image.convert("RGB")
    if image.size != KERAS:
        image = image.resize(KERAS, Image.Resampling.NEAREST)
    x = np.asarray(image, dtype=np.float32).copy()
    x /= 127.5
    x -= 1.0
    return x


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# ---- EXIF ------------------------------------------------------------------------------------------

def exif(orientation, order="<"):
    """A TIFF block with three entries, the orientation in the middle."""
    entries = [(0x100, 3, W), (0x112, 3, orientation), (0x213, 3, 1)]
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, value in entries:
        block += struct.pack(order + "HHIHH", tag, kind, 1, value, 0)
    return block + struct.pack(order + "I", 0)


def jpeg_with_exif(jpeg, block):
    body = b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def oriented(rgb, orientation):
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90}
    image = Image.fromarray(rgb)
    return np.asarray(image.transpose(turn[orientation]) if orientation > 1 else image)


# ---- PNG -------------------------------------------------------------------------------------------

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples, bits):
    """Rows of samples (h, w, channels) -> bytes with filter type 0."""
    out = b""
    for row in samples:
        flat = row.reshape(-1)
        if bits == 16:
            out += b"\0" + flat.astype(">u2").tobytes()
        elif bits == 8:
            out += b"\0" + flat.astype(np.uint8).tobytes()
        else:
            binary = "".join(format(int(v), f"0{bits}b") for v in flat)
            binary += "0" * (-len(binary) % 8)
            out += b"\0" + int(binary, 2).to_bytes(len(binary) // 8, "big")
    return out


def png(samples, color, bits=8, interlaced=False, before=b"", after=b""):
    if samples.ndim == 2:
        samples = samples[..., None]
    height, width = samples.shape[:2]
    if interlaced:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in PASSES]
        raw = b"".join(packed(p, bits) for p in parts if p.shape[0] and p.shape[1])
    else:
        raw = packed(samples, bits)
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before +
            chunk(b"IDAT", zlib.compress(raw, 9)) + after + chunk(b"IEND", b""))


def over_white(rgb, alpha):
    rgb, alpha = rgb.astype(float), alpha.astype(float)[..., None] / 255
    return np.floor(rgb * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


def grey3(grey):
    return np.repeat(grey.astype(np.uint8)[..., None], 3, -1)


def make_pngs(rgb):
    grey = rgb[..., 1]
    y, x = np.mgrid[0:H, 0:W]
    alpha = ((x * 11 + y * 7) % 256).astype(np.uint8)
    low = (x * 37 + y * 101) % 256  # low bytes, to be dropped
    picture("png-rgb.png", png(rgb, RGB), rgb)
    picture("png-rgb16.png", png(rgb.astype(int) * 256 + low[..., None], RGB, 16), rgb)
    picture("png-grey.png", png(grey, GREY), grey3(grey))
    picture("png-grey1.png", png(grey >> 7, GREY, 1), grey3((grey >> 7) * 255))
    picture("png-grey4.png", png(grey >> 4, GREY, 4), grey3((grey >> 4) * 17))
    picture("png-grey16.png", png(grey.astype(int) * 256 + low, GREY, 16), grey3(grey))
    picture("png-grey-alpha.png", png(np.dstack([grey, alpha]), GREY_ALPHA),
            over_white(grey3(grey), alpha))
    picture("png-rgba.png", png(np.dstack([rgb, alpha]), RGBA), over_white(rgb, alpha))
    picture("png-rgba16.png", png(np.dstack([rgb, alpha]).astype(int) * 257, RGBA, 16),
            over_white(rgb, alpha))
    picture("png-interlaced.png", png(rgb, RGB, interlaced=True), rgb)
    picture("png-interlaced-rgba.png", png(np.dstack([rgb, alpha]), RGBA, interlaced=True),
            over_white(rgb, alpha))
    index = (x // 3 + y // 2) % 16
    colors = np.array([[i * 16, 255 - i * 16, i * 5] for i in range(16)], np.uint8)
    plte = chunk(b"PLTE", colors.tobytes())
    picture("png-palette.png", png(index, PALETTE, 8, before=plte), colors[index])
    picture("png-palette4-interlaced.png", png(index, PALETTE, 4, True, plte), colors[index])
    fade = np.array([i * 17 for i in range(16)], np.uint8)
    picture("png-palette-trns.png",
            png(index, PALETTE, 4, before=plte + chunk(b"tRNS", fade.tobytes())),
            over_white(colors[index], fade[index]))
    mark = rgb.copy()
    mark[(rgb == (255, 20, 20)).all(-1)] = 255
    picture("png-rgb-trns.png", png(rgb, RGB, before=chunk(b"tRNS", struct.pack(">3H", 255, 20, 20))),
            mark)
    picture("png-grey-trns.png", png(grey, GREY, before=chunk(b"tRNS", struct.pack(">H", 16))),
            grey3(np.where(grey == 16, 255, grey)))
    picture("png-grey16-low.png", png(grey.astype(int) * 2, GREY, 16), grey3(grey >> 7))
    picture("png-grey16-alpha.png", png(np.dstack([grey.astype(int) * 256 + low, alpha.astype(int) * 257]),
                                        GREY_ALPHA, 16), over_white(grey3(grey), alpha))
    picture("png-exif-6.png", png(rgb, RGB, after=chunk(b"eXIf", exif(6, ">"))), oriented(rgb, 6))


# ---- JPEG, WebP --------------------------------------------------------------------------------------

def make_jpegs(rgb):
    image = Image.fromarray(rgb)
    picture("jpeg-420.jpg", encode(image, "JPEG", quality=90, subsampling=2))
    picture("jpeg-444.jpg", encode(image, "JPEG", quality=90, subsampling=0))
    picture("jpeg-422.jpg", encode(image, "JPEG", quality=80, subsampling=1))
    make_large_jpegs()
    picture("jpeg-progressive.jpg", encode(image, "JPEG", quality=85, progressive=True))
    picture("jpeg-grey.jpg", encode(image.convert("L"), "JPEG", quality=90))
    cmyk = encode(image.convert("CMYK"), "JPEG", quality=90)
    picture("jpeg-cmyk.jpg", cmyk)
    at = cmyk.index(b"Adobe")
    assert cmyk[at + 11] == 0  # the transform: 0 CMYK, 2 YCCK
    picture("jpeg-ycck.jpg", cmyk[: at + 11] + b"\2" + cmyk[at + 12:])
    picture("jpeg-restart.jpg", restarts(image))
    plain = encode(image, "JPEG", quality=92, subsampling=0)
    pixels = np.asarray(Image.open(io.BytesIO(plain)))
    for o in range(1, 9):
        block = exif(o, "<" if o % 2 else ">")
        picture(f"jpeg-exif-{o}.jpg", jpeg_with_exif(plain, block), oriented(pixels, o))


def make_large_jpegs():
    """Large enough to be decoded reduced; sides that 8 does not divide."""
    for name, width, height, options in [
            ("420", 401, 303, {"subsampling": 2}), ("444", 331, 250, {"subsampling": 0}),
            ("422", 268, 405, {"subsampling": 1, "progressive": True})]:
        rgb = scene(width, height)
        y, x = np.mgrid[0:height, 0:width]
        waves = 40 * np.sin(x / 7) * np.sin(y / 9)
        rgb = np.clip(rgb * 0.7 + 38 + waves[..., None], 0, 255).astype(np.uint8)
        data = encode(Image.fromarray(rgb), "JPEG", quality=75, **options)
        write(f"jpeg-large-{name}.jpg", data)
        write(f"keras/jpeg-large-{name}.jpg.f32", keras(data).astype("<f4").tobytes())


def restarts(image):
    """Restart markers where Pillow cannot write them: grey, one block each, spliced from pieces."""
    grey = np.asarray(image.convert("L"))[:8, :16]
    pieces = [encode(Image.fromarray(np.ascontiguousarray(grey[:, x:x + 8])), "JPEG", quality=90)
              for x in (0, 8)]
    heads = [p[: p.index(b"\xff\xda") + 2 + struct.unpack(">H", p[p.index(b"\xff\xda") + 2:][:2])[0]]
             for p in pieces]
    scans = [p[len(h):-2] for p, h in zip(pieces, heads)]
    head = bytearray(heads[0])
    frame = head.index(b"\xff\xc0")
    head[frame + 7:frame + 9] = struct.pack(">H", 16)  # width
    sos = head.index(b"\xff\xda")
    return (bytes(head[:sos]) + b"\xff\xdd\0\4\0\1" + bytes(head[sos:]) + scans[0] + b"\xff\xd0" +
            scans[1] + b"\xff\xd9")


def webp_with_exif(rgb, orientation):
    return encode(Image.fromarray(rgb), "WEBP", lossless=True, exif=b"Exif\0\0" + exif(orientation))


def make_webps(rgb):
    y, x = np.mgrid[0:H, 0:W]
    alpha = ((x * 11 + y * 7) % 256).astype(np.uint8)
    image = Image.fromarray(rgb)
    picture("webp-lossy.webp", encode(image, "WEBP", quality=90))
    picture("webp-lossless.webp", encode(image, "WEBP", lossless=True), rgb)
    picture("webp-alpha.webp",
            encode(Image.fromarray(np.dstack([rgb, alpha])), "WEBP", lossless=True, exact=True),
            over_white(rgb, alpha))
    faded = encode(Image.fromarray(np.dstack([rgb, alpha])), "WEBP", quality=90, exact=True)
    pixels = np.asarray(Image.open(io.BytesIO(faded)).convert("RGBA"))
    picture("webp-alpha-lossy.webp", faded, over_white(pixels[..., :3], pixels[..., 3]))
    picture("webp-exif-8.webp", webp_with_exif(rgb, 8), oriented(rgb, 8))
    write("bad-animated.webp", encode(image, "WEBP", save_all=True, lossless=True,
                                      append_images=[Image.fromarray(255 - rgb)]))


# ---- what must be refused ------------------------------------------------------------------------------

def make_bad(rgb):
    bomb = struct.pack(">IIBBBBB", 50000, 50000, 8, RGB, 0, 0, 0)
    write("bad-bomb.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bomb) +
          chunk(b"IDAT", zlib.compress(bytes(100000), 9)) + chunk(b"IEND", b""))
    jpeg = bytearray(encode(Image.fromarray(rgb), "JPEG", quality=50))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5:frame + 9] = struct.pack(">HH", 65000, 65000)
    write("bad-bomb.jpg", bytes(jpeg))
    webp = bytearray(webp_with_exif(rgb, 1))
    webp[24:30] = struct.pack("<I", 60000)[:3] * 2
    write("bad-bomb.webp", bytes(webp))
    progressive = encode(Image.fromarray(rgb).convert("L"), "JPEG", quality=50, progressive=True)
    first = progressive.index(b"\xff\xda")
    end = progressive.index(b"\xff\xc4", first)  # the next scan's table
    write("bad-scans.jpg", progressive[:end] + progressive[first:end] * 150 + progressive[end:])
    make_large(rgb)
    text = chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(20 << 20), 9))
    write("bad-text.png", png(rgb, RGB, before=text))


def make_large(rgb):
    """Within the limits of size, but of kinds that cannot be read row by row."""
    header = struct.pack(">IIBBBBB", 16000, 6000, 8, RGBA, 0, 0, 1)
    write("bad-large-interlaced.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) +
          chunk(b"IDAT", zlib.compress(bytes(1000), 9)) + chunk(b"IEND", b""))
    jpeg = bytearray(encode(Image.fromarray(rgb), "JPEG", subsampling=0, progressive=True))
    frame = jpeg.index(b"\xff\xc2")
    jpeg[frame + 5:frame + 9] = struct.pack(">HH", 9000, 10000)
    write("bad-large-progressive.jpg", bytes(jpeg))
    webp = bytearray(encode(Image.fromarray(rgb), "WEBP", lossless=True))
    at = webp.index(b"VP8L") + 9
    bits = struct.unpack("<I", webp[at:at + 4])[0]
    webp[at:at + 4] = struct.pack("<I", bits >> 28 << 28 | (8999 << 14) | 9999)
    write("bad-large-lossless.webp", bytes(webp))


# ---- resizing ------------------------------------------------------------------------------------------

def make_resizes():
    rgb = scene(61, 47)
    noise = (np.arange(61 * 47 * 3).reshape(47, 61, 3) * 7919 >> 3) % 61
    rgb = np.clip(rgb.astype(int) + noise - 30, 0, 255).astype(np.uint8)
    write_ppm("resize/source.ppm", rgb)
    image = Image.fromarray(rgb)
    filters = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
    sizes = [(24, 16), (16, 30), (61, 47), (70, 50), (1, 1), (5, 47)]
    for name, method in filters.items():
        for width, height in sizes:
            write_ppm(f"resize/stretch-{name}-{width}x{height}.ppm",
                      np.asarray(image.resize((width, height), method)))
        for width, height in [(20, 20), (33, 10), (9, 31)]:
            write_ppm(f"resize/center_crop-{name}-{width}x{height}.ppm",
                      np.asarray(ImageOps.fit(image, (width, height), method)))
            write_ppm(f"resize/letterbox-{name}-{width}x{height}.ppm",
                      np.asarray(ImageOps.pad(image, (width, height), method, color=(9, 8, 7))))
    with open(os.path.join(HERE, "resize/nearest.txt"), "w", encoding="ascii") as f:
        for source, out in [(4032, 299), (3024, 299), (1000, 299), (640, 299), (375, 224), (7, 30),
                            (2000, 128), (12000, 331)]:
            ramp = np.zeros((1, source, 3), np.uint8)
            ramp[0, :, 0], ramp[0, :, 1] = np.arange(source) % 256, np.arange(source) // 256
            got = np.asarray(Image.fromarray(ramp).resize((out, 1), Image.Resampling.NEAREST))[0]
            index = got[:, 0].astype(int) + got[:, 1].astype(int) * 256
            f.write(f"{source} {out} " + " ".join(map(str, index)) + "\n")


def main():
    rgb = scene(W, H)
    make_pngs(rgb)
    make_jpegs(rgb)
    make_webps(rgb)
    make_bad(rgb)
    make_resizes()


if __name__ == "__main__":
    main()
