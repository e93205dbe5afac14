#include "engine/image_header.h"

#include <limits.h>
#include <string.h>

// ---- what it is -------------------------------------------------------------------------------

static bool has_at(struct span s, size_t at, const char *magic, size_t len)
{
    return s.len >= at + len && memcmp(s.data + at, magic, len) == 0;
}
#define HAS_AT(s, at, literal) has_at((s), (at), (literal), sizeof(literal) - 1)

// By the first bytes alone.
static enum image_format image_header_format(struct span bytes)
{
    if (HAS_AT(bytes, 0, "\xff\xd8\xff"))
        return IMAGE_JPEG;
    if (HAS_AT(bytes, 0, "\x89PNG\r\n\x1a\n"))
        return IMAGE_PNG;
    if (HAS_AT(bytes, 0, "RIFF") && HAS_AT(bytes, 8, "WEBP"))
        return IMAGE_WEBP;
    return IMAGE_UNKNOWN;
}

const char *image_format_name(enum image_format format)
{
    return format == IMAGE_JPEG   ? "JPEG"
           : format == IMAGE_PNG  ? "PNG"
           : format == IMAGE_WEBP ? "WebP"
                                  : "picture";
}

// Files of the ISO base media family tell themselves apart by the brand at byte 8.
static const char *name_of_brand(struct span s)
{
    if (HAS_AT(s, 8, "avif") || HAS_AT(s, 8, "avis"))
        return "an AVIF picture";
    if (HAS_AT(s, 8, "hei") || HAS_AT(s, 8, "hev") || HAS_AT(s, 8, "mif1") || HAS_AT(s, 8, "msf1"))
        return "a HEIC picture";
    return "a video or another MP4 file";
}

static const char *name_of_text(struct span s)
{
    if (HAS_AT(s, 0, "\xef\xbb\xbf")) {
        s.data += 3;
        s.len -= 3;
    }
    while (s.len > 0 && (s.data[0] == ' ' || (s.data[0] >= '\t' && s.data[0] <= '\r'))) {
        s.data++;
        s.len--;
    }
    if (span_starts_nocase(s, "<svg"))
        return "an SVG drawing";
    if (span_starts_nocase(s, "<!doctype html") || span_starts_nocase(s, "<html"))
        return "a web page (HTML)";
    if (span_starts_nocase(s, "<?xml") || span_starts_nocase(s, "<error"))
        return "XML text (an SVG drawing or an error message?)";
    size_t look = s.len < 256 ? s.len : 256;
    for (size_t i = 0; i < look; i++) {
        unsigned char c = (unsigned char)s.data[i];
        bool control = c < ' ' && c != '\t' && c != '\n' && c != '\r';
        if (control || c == 0xc0 || c == 0xc1 || c >= 0xf8) // bytes that UTF-8 text cannot hold
            return "not a picture";
    }
    return "text";
}

// "a GIF", "a PDF", "a web page (HTML)", … or "not a picture" for bytes that are not ours.
static const char *image_header_stranger(struct span s)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *name;
    } known[] = {
        {"GIF8", 4, "a GIF"},
        {"BM", 2, "a BMP picture"},
        {"II*\0", 4, "a TIFF picture"},
        {"MM\0*", 4, "a TIFF picture"},
        {"II+\0", 4, "a TIFF picture"},
        {"MM\0+", 4, "a TIFF picture"},
        {"%PDF", 4, "a PDF"},
        {"8BPS", 4, "a Photoshop file"},
        {"PK\3\4", 4, "a ZIP archive or an office document"},
        {"\x1f\x8b", 2, "gzip-compressed data"},
        {"\0\0\1\0", 4, "a Windows icon"},
        {"\xff\x0a", 2, "a JPEG XL picture"},
        {"\0\0\0\x0cJXL ", 8, "a JPEG XL picture"},
        {"\0\0\0\x0cjP  ", 8, "a JPEG 2000 picture"},
        {"\xff\x4f\xff\x51", 4, "a JPEG 2000 picture"},
        {"RIFF", 4, "a video or sound (RIFF)"},
        {"\x1a\x45\xdf\xa3", 4, "a video (Matroska or WebM)"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (has_at(s, 0, known[i].magic, known[i].len))
            return known[i].name;
    if (HAS_AT(s, 4, "ftyp"))
        return name_of_brand(s);
    return name_of_text(s);
}

// ---- EXIF -------------------------------------------------------------------------------------

// Little pieces of foreign bytes; the caller has checked that they are there.
static uint32_t byte_at(struct span s, size_t at)
{
    return (uint8_t)s.data[at];
}

static uint32_t be16(struct span s, size_t at)
{
    return byte_at(s, at) << 8 | byte_at(s, at + 1);
}

static uint32_t be32(struct span s, size_t at)
{
    return be16(s, at) << 16 | be16(s, at + 2);
}

static uint32_t le16(struct span s, size_t at)
{
    return byte_at(s, at) | byte_at(s, at + 1) << 8;
}

static uint32_t le24(struct span s, size_t at)
{
    return le16(s, at) | byte_at(s, at + 2) << 16;
}

static uint32_t le32(struct span s, size_t at)
{
    return le16(s, at) | le16(s, at + 2) << 16;
}

// TIFF 6.0: byte order, 42, offset of a directory of 12-byte entries {tag, type, count, value}.
// The orientation is tag 0x112 (EXIF 2.3, 4.6.4), one SHORT in the first directory.
int image_exif_orientation(struct span s)
{
    enum { TAG_ORIENTATION = 0x112, TYPE_SHORT = 3, TYPE_LONG = 4 };
    if (HAS_AT(s, 0, "Exif\0\0")) {
        s.data += 6;
        s.len -= 6;
    }
    bool little = HAS_AT(s, 0, "II*\0");
    if (s.len < 8 || (!little && !HAS_AT(s, 0, "MM\0*")))
        return 1;
    uint32_t (*u16)(struct span, size_t) = little ? le16 : be16;
    uint32_t (*u32)(struct span, size_t) = little ? le32 : be32;
    size_t at = u32(s, 4);
    if (at > s.len || s.len - at < 2)
        return 1;
    size_t entries = u16(s, at);
    at += 2;
    for (size_t i = 0; i < entries && s.len - at >= 12; i++, at += 12) {
        if (u16(s, at) != TAG_ORIENTATION)
            continue;
        uint32_t type = u16(s, at + 2);
        uint32_t value = type == TYPE_SHORT  ? u16(s, at + 8)
                         : type == TYPE_LONG ? u32(s, at + 8)
                                             : 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

struct image_turn image_turn_of(int o)
{
    return (struct image_turn){.turned = o >= 5,
                               .back_along = o == 2 || o == 3 || o == 7 || o == 8,
                               .back_across = o == 3 || o == 4 || o == 6 || o == 7};
}

// ---- the three formats ------------------------------------------------------------------------

static enum err cut_short(const char *format, struct error *error)
{
    return fail(error, ERR_FORMAT, 0,
                "the %s ends before its picture begins (truncated upload?): send it again", format);
}

static enum err damaged(const char *format, const char *what, struct error *error)
{
    return fail(error, ERR_FORMAT, 0, "the %s is damaged (%s): send it again or save it anew",
                format, what);
}

static bool jpeg_is_frame(uint32_t marker) // SOF0..SOF15 without DHT, JPG and DAC
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static enum err jpeg_frame(struct span segment, struct image_info *out, struct error *error)
{
    if (segment.len < 6)
        return damaged("JPEG", "its frame header is too short", error);
    out->height = (int)be16(segment, 1);
    out->width = (int)be16(segment, 3);
    if (out->width == 0 || out->height == 0)
        return damaged("JPEG", "its width or height is 0", error);
    return OK;
}

// ITU-T T.81, B.1.1: markers are FF xx; each but a few has a two-byte length and that many bytes.
static enum err jpeg_read(struct span s, struct image_info *out, struct error *error)
{
    enum { EOI = 0xd9, SOS = 0xda, APP1 = 0xe1 };
    size_t at = 2;
    for (;;) {
        while (at < s.len && byte_at(s, at) != 0xff)
            at++;
        while (at < s.len && byte_at(s, at) == 0xff)
            at++;
        if (at >= s.len)
            break;
        uint32_t marker = byte_at(s, at++);
        if (marker == EOI || marker == SOS)
            break;
        if (marker <= 1 || (marker >= 0xd0 && marker <= 0xd8))
            continue; // stuffing, TEM, RSTn, SOI: nothing follows
        if (s.len - at < 2)
            break;
        size_t len = be16(s, at);
        if (len < 2 || len > s.len - at)
            break;
        struct span segment = {s.data + at + 2, len - 2};
        if (jpeg_is_frame(marker) && out->width == 0)
            TRY(jpeg_frame(segment, out, error));
        if (marker == APP1 && out->orientation == 1 && HAS_AT(segment, 0, "Exif\0\0"))
            out->orientation = image_exif_orientation(segment);
        at += len;
    }
    if (out->width == 0)
        return cut_short("JPEG", error);
    return OK;
}

// PNG 1.2, 5.3: chunks of length, type, data, CRC; IHDR is the first. eXIf may come late.
static enum err png_read(struct span s, struct image_info *out, struct error *error)
{
    if (s.len < 33)
        return cut_short("PNG", error);
    if (be32(s, 8) != 13 || !HAS_AT(s, 12, "IHDR"))
        return damaged("PNG", "it does not begin with an IHDR chunk", error);
    uint32_t width = be32(s, 16), height = be32(s, 20);
    if (width == 0 || height == 0 || width > INT_MAX || height > INT_MAX)
        return damaged("PNG", "its width or height cannot be", error);
    out->width = (int)width;
    out->height = (int)height;
    for (size_t at = 33; s.len - at >= 12;) {
        size_t len = be32(s, at);
        if (len > s.len - at - 12)
            break;
        if (HAS_AT(s, at + 4, "eXIf"))
            out->orientation = image_exif_orientation((struct span){s.data + at + 8, len});
        if (HAS_AT(s, at + 4, "eXIf") || HAS_AT(s, at + 4, "IEND"))
            break;
        at += 12 + len;
    }
    return OK;
}

// WebP container: RIFF chunks {type, length, data, padding to even}; the EXIF chunk comes last.
static int webp_orientation(struct span s)
{
    for (size_t at = 12; s.len - at >= 8;) {
        size_t len = le32(s, at + 4);
        if (len > s.len - at - 8)
            return 1;
        if (HAS_AT(s, at, "EXIF"))
            return image_exif_orientation((struct span){s.data + at + 8, len});
        at += 8 + len;
        if (len % 2 == 1 && at < s.len)
            at++;
    }
    return 1;
}

static enum err webp_read(struct span s, struct image_info *out, struct error *error)
{
    enum { ANIMATION = 2 };
    if (s.len < 30)
        return cut_short("WebP", error);
    if (le32(s, 4) > s.len - 8)
        return fail(
            error, ERR_FORMAT, 0,
            "the WebP ends in the middle (%zu bytes of %llu; truncated upload?): send it again",
            s.len, (unsigned long long)le32(s, 4) + 8);
    if (HAS_AT(s, 12, "VP8 ")) { // RFC 6386, 9.1: 3 bytes frame tag, start code, 14-bit sizes
        if (!HAS_AT(s, 23, "\x9d\x01\x2a"))
            return damaged("WebP", "its key frame has no start code", error);
        out->width = (int)(le16(s, 26) & 0x3fff);
        out->height = (int)(le16(s, 28) & 0x3fff);
    } else if (HAS_AT(s, 12, "VP8L")) { // signature byte, 14 bits each of width - 1, height - 1
        if (byte_at(s, 20) != 0x2f)
            return damaged("WebP", "its lossless stream has no signature", error);
        out->width = (int)(le32(s, 21) & 0x3fff) + 1;
        out->height = (int)(le32(s, 21) >> 14 & 0x3fff) + 1;
    } else if (HAS_AT(s, 12, "VP8X")) { // flags, 3 reserved, 24 bits each of width - 1, height - 1
        if ((byte_at(s, 20) & ANIMATION) != 0)
            return fail(
                error, ERR_UNSUPPORTED, 0,
                "this WebP is animated; smelt reads still pictures: send one of its frames");
        out->width = (int)le24(s, 24) + 1;
        out->height = (int)le24(s, 27) + 1;
        out->orientation = webp_orientation(s);
    } else {
        return damaged("WebP", "its first chunk is none of VP8, VP8L, VP8X", error);
    }
    if (out->width == 0 || out->height == 0)
        return damaged("WebP", "its width or height is 0", error);
    return OK;
}

enum err image_header_read(struct span bytes, struct image_info *out, struct error *error)
{
    *out = (struct image_info){.format = image_header_format(bytes), .orientation = 1};
    switch (out->format) {
    case IMAGE_JPEG:
        return jpeg_read(bytes, out, error);
    case IMAGE_PNG:
        return png_read(bytes, out, error);
    case IMAGE_WEBP:
        return webp_read(bytes, out, error);
    case IMAGE_UNKNOWN:
        break;
    }
    return fail(error, ERR_FORMAT, 0,
                "this is %s; smelt reads JPEG, PNG and WebP: convert it or send another file",
                image_header_stranger(bytes));
}
