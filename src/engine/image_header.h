// Picture headers, read without a library and without memory: format, size, EXIF orientation.
// Pure. What is not one of our formats is named, so that its sender knows what to convert.
#pragma once

#include "engine/image.h"

const char *image_format_name(enum image_format format); // "JPEG", "PNG", "WebP", "picture"

// Orientation 1..8 from a TIFF structure as EXIF has it (with or without "Exif\0\0" before it);
// 1 when there is none or it makes no sense.
int image_exif_orientation(struct span tiff);

// What an orientation does to the rows of a stored picture: become columns (turned), run backwards
// (back_along), come from the bottom or the right (back_across).
struct image_turn {
    bool turned, back_along, back_across;
};
struct image_turn image_turn_of(int orientation);

// Sizes are not judged yet, but are at least 1. ERR_FORMAT (also: none of ours, and what it is
// instead), ERR_UNSUPPORTED (animated WebP).
enum err image_header_read(struct span bytes, struct image_info *out,
                           struct error *error) MUST_CHECK;
