#include "base/limits.h"
#include "engine/image_decoder.h"
#include "engine/image_header.h"

#include "pictures.h"

#include <sys/resource.h>

static void expect(const char *name, struct span bytes, enum err err, const char *text)
{
    struct image image;
    struct error error = {0};
    enum err got = image_decode(bytes, true, &image, &error);
    ck_assert_msg(got == err, "%s: %s instead of %s (%s)", name, err_name(got), err_name(err),
                  error.msg);
    ck_assert_msg(error.code == err && strstr(error.msg, text) != NULL, "%s: '%s' lacks '%s'", name,
                  error.msg, text);
}

static void expect_file(const char *name, enum err err, const char *text)
{
    AUTO_BUF struct buf file = {0};
    picture_load(name, &file);
    expect(name, buf_view(&file), err, text);
}

START_TEST(each_kind_of_picture_gives_the_expected_pixels)
{
    for (int i = 0; i < GOOD_PICTURES; i++) {
        const struct good_picture *good = &good_pictures[i];
        AUTO_BUF struct buf file = {0};
        struct error error = {0};
        struct image image = {0}, wanted = picture_expected(good->name);
        picture_load(good->name, &file);
        ck_assert_msg(image_decode(buf_view(&file), true, &image, &error) == OK, "%s: %s",
                      good->name, error.msg);
        int difference = picture_difference(&image, &wanted);
        ck_assert_msg(difference <= good->tolerance, "%s differs by %d", good->name, difference);
        image_release(&image);
        image_release(&wanted);
    }
}
END_TEST

START_TEST(probe_tells_format_size_and_orientation)
{
    for (int i = 0; i < GOOD_PICTURES; i++) {
        const struct good_picture *good = &good_pictures[i];
        AUTO_BUF struct buf file = {0};
        struct image_info info;
        struct image wanted = picture_expected(good->name);
        picture_load(good->name, &file);
        ck_assert_int_eq(image_probe(buf_view(&file), &info, NULL), OK);
        ck_assert_int_eq(info.format, good->format);
        ck_assert_int_eq(info.orientation, good->orientation);
        bool turned = good->orientation >= 5;
        ck_assert_int_eq(info.width, turned ? wanted.height : wanted.width);
        ck_assert_int_eq(info.height, turned ? wanted.width : wanted.height);
        image_release(&wanted);
    }
}
END_TEST

START_TEST(orientation_is_left_alone_when_not_asked_for)
{
    AUTO_BUF struct buf file = {0};
    struct image image, wanted = picture_expected("jpeg-exif-1.jpg");
    picture_load("jpeg-exif-6.jpg", &file);
    ck_assert_int_eq(image_decode(buf_view(&file), false, &image, NULL), OK);
    ck_assert_int_le(picture_difference(&image, &wanted), 1);
    image_release(&image);
    image_release(&wanted);
}
END_TEST

// Cut anywhere, a picture is refused as cut short or damaged, never given in part. Only behind the
// last pixel something may be missing (a JPEG's end marker), and then it is the whole picture.
START_TEST(a_picture_cut_anywhere_is_refused_or_whole)
{
    for (int i = 0; i < GOOD_PICTURES; i++) {
        AUTO_BUF struct buf file = {0};
        struct image whole, part;
        picture_load(good_pictures[i].name, &file);
        ck_assert_int_eq(image_decode(buf_view(&file), true, &whole, NULL), OK);
        size_t refused = 0;
        for (size_t len = 0; len < file.len; len++) {
            char *exact = malloc(len + 1);
            memcpy(exact, file.data, len);
            struct error error = {0};
            if (image_decode((struct span){exact, len}, true, &part, &error) == OK) {
                ck_assert_int_eq(picture_difference(&whole, &part), 0);
                image_release(&part);
            } else {
                ck_assert_int_eq(error.code, ERR_FORMAT);
                refused++;
            }
            free(exact);
        }
        size_t spare =
            good_pictures[i].format == IMAGE_PNG ? 4 : 2; // the checksum of PNG's end mark
        ck_assert_msg(refused >= file.len - spare, "%s: only %zu of %zu cuts refused",
                      good_pictures[i].name, refused, file.len);
        image_release(&whole);
    }
}
END_TEST

START_TEST(a_cut_picture_is_called_truncated)
{
    static const char *const names[] = {"jpeg-420.jpg", "jpeg-progressive.jpg", "png-rgb.png",
                                        "png-interlaced.png", "webp-lossy.webp"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        AUTO_BUF struct buf file = {0};
        picture_load(names[i], &file);
        expect(names[i], (struct span){file.data, file.len * 3 / 4}, ERR_FORMAT,
               "truncated upload?");
        expect(names[i], (struct span){file.data, 14}, ERR_FORMAT, "truncated upload?");
    }
}
END_TEST

// Every bit of a PNG is under a checksum. For the others: no crash, and an error or a picture.
START_TEST(any_flipped_byte_is_refused_or_harmless)
{
    for (int i = 0; i < GOOD_PICTURES; i++) {
        const struct good_picture *good = &good_pictures[i];
        AUTO_BUF struct buf file = {0};
        picture_load(good->name, &file);
        for (size_t at = 0; at < file.len; at++) {
            struct image image;
            struct error error = {0};
            file.data[at] = (char)(file.data[at] ^ 0x41);
            enum err err = image_decode(buf_view(&file), true, &image, &error);
            file.data[at] = (char)(file.data[at] ^ 0x41);
            if (err == OK)
                image_release(&image);
            ck_assert_msg(good->format != IMAGE_PNG || err != OK, "%s byte %zu", good->name, at);
            ck_assert_msg(err == OK || error.msg[0] != '\0', "%s byte %zu", good->name, at);
            ck_assert_int_ne(err, ERR_INTERNAL);
        }
    }
}
END_TEST

START_TEST(strangers_are_named)
{
    static const struct {
        struct span bytes;
        const char *text;
    } strangers[] = {
        {{"GIF89a\1\0\1\0", 10}, "this is a GIF; smelt reads JPEG, PNG and WebP: convert it"},
        {{"BM\x36\0\0\0", 6}, "a BMP"},
        {{"II*\0\x08\0\0\0", 8}, "a TIFF"},
        {{"MM\0*\0\0\0\x08", 8}, "a TIFF"},
        {{"\0\0\0\x18"
          "ftypheic\0\0\0\0",
          16},
         "a HEIC"},
        {{"\0\0\0\x1c"
          "ftypavif\0\0\0\0",
          16},
         "an AVIF"},
        {{"\0\0\0\x20"
          "ftypisom\0\0\0\0",
          16},
         "a video"},
        {{"%PDF-1.7\n", 9}, "a PDF"},
        {{"PK\3\4\x14\0", 6}, "a ZIP"},
        {{"\xff\x0a\xfa\x1f", 4}, "a JPEG XL"},
        {{"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", 40}, "an SVG"},
        {{"\r\n <!DOCTYPE html><html>", 23}, "a web page"},
        {{"<?xml version=\"1.0\"?>", 21}, "XML"},
        {{"hello, world", 12}, "this is text"},
        {{"\x01\x02\x03\x04\x05", 5}, "not a picture"},
        {{"\xff\xd8", 2}, "not a picture"},
        {{"\0", 1}, "not a picture"},
    };
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        expect(strangers[i].text, strangers[i].bytes, ERR_FORMAT, strangers[i].text);
    expect("empty", (struct span){NULL, 0}, ERR_FORMAT, "the file is empty");
    expect_file("bad-animated.webp", ERR_UNSUPPORTED, "animated");
}
END_TEST

// The limits hold before memory is taken: the process does not grow.
START_TEST(bombs_are_refused_before_memory_is_taken)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    expect_file("bad-bomb.png", ERR_LIMIT, "50000 x 50000 pixels, the limit is 16384 on a side");
    expect_file("bad-bomb.jpg", ERR_LIMIT, "65000 x 65000 pixels");
    expect_file("bad-bomb.webp", ERR_LIMIT, "60001 x 60001 pixels");
    getrusage(RUSAGE_SELF, &after);
    ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 4096); // KiB
    AUTO_BUF struct buf large = {0};
    buf_reserve(&large, IMAGE_BYTES_MAX + 1);
    memset(large.data, 0xff, IMAGE_BYTES_MAX + 1);
    expect("large", (struct span){large.data, IMAGE_BYTES_MAX + 1}, ERR_LIMIT, "the limit is");
}
END_TEST

START_TEST(scan_bombs_and_text_bombs_are_refused)
{
    expect_file("bad-scans.jpg", ERR_LIMIT, "more than 100 scans");
    expect_file("bad-text.png", ERR_LIMIT, "16 MiB of text");
}
END_TEST

START_TEST(large_pictures_of_kinds_that_do_not_stream_are_refused)
{
    expect_file("bad-large-interlaced.png", ERR_LIMIT,
                "16000 x 6000 pixels needs more than 320 MiB");
    expect_file("bad-large-progressive.jpg", ERR_LIMIT, "progressive JPEG needs more than 320 MiB");
    expect_file("bad-large-lossless.webp", ERR_LIMIT,
                "10000 x 9000 pixels of this kind needs more");
}
END_TEST

START_TEST(a_jpeg_without_its_end_marker_is_whole)
{
    AUTO_BUF struct buf file = {0};
    struct image image, wanted = picture_expected("jpeg-420.jpg");
    picture_load("jpeg-420.jpg", &file);
    ck_assert_int_eq(image_decode((struct span){file.data, file.len - 2}, true, &image, NULL), OK);
    ck_assert_int_le(picture_difference(&image, &wanted), 1);
    image_release(&image);
    image_release(&wanted);
}
END_TEST

START_TEST(exif_that_makes_no_sense_is_no_orientation)
{
    char tiff[] = "II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0";
    struct span whole = {tiff, 26};
    ck_assert_int_eq(image_exif_orientation(whole), 6);
    for (size_t len = 0; len < 22; len++) { // with the last byte of the entry it is complete
        char *exact = malloc(len + 1);
        memcpy(exact, tiff, len);
        ck_assert_int_eq(image_exif_orientation((struct span){exact, len}), 1);
        free(exact);
    }
    tiff[18] = 9;
    ck_assert_int_eq(image_exif_orientation(whole), 1);
    tiff[18] = 0;
    ck_assert_int_eq(image_exif_orientation(whole), 1);
    memcpy(tiff + 4, "\xff\xff\xff\xff", 4);
    ck_assert_int_eq(image_exif_orientation(whole), 1);
}
END_TEST

// A header that our parser and the library read differently is a trick.
START_TEST(a_jpeg_with_two_frame_headers_is_refused)
{
    AUTO_BUF struct buf file = {0}, twice = {0};
    picture_load("jpeg-444.jpg", &file);
    char *frame = memmem(file.data, file.len, "\xff\xc0", 2);
    ck_assert_ptr_nonnull(frame);
    size_t at = (size_t)(frame - file.data), len = 2 + 17;
    buf_add(&twice, file.data, at + len);
    buf_add(&twice, frame, file.len - at);
    twice.data[at + 6] = 99;
    expect("twice", buf_view(&twice), ERR_FORMAT, "damaged");
}
END_TEST

struct stopper {
    atomic_int cancel;
    int rows, most; // seen; after so many it is cancelled
};

static enum err stopper_begin(void *ctx, int width, int height, struct error *error)
{
    (void)ctx, (void)width, (void)height, (void)error;
    return OK;
}

static void stopper_row(void *ctx, int y, const uint8_t *rgb)
{
    struct stopper *s = ctx;
    (void)y, (void)rgb;
    if (++s->rows == s->most)
        atomic_store(&s->cancel, 1);
}

START_TEST(decoding_stops_between_rows)
{
    static const struct {
        const char *name;
        enum err (*rows)(struct span bytes, const struct image_info *info,
                         const struct image_sink *sink, struct error *error);
    } kinds[] = {
        {"jpeg-420.jpg", image_jpeg_rows},       {"jpeg-progressive.jpg", image_jpeg_rows},
        {"png-rgb.png", image_png_rows},         {"png-interlaced.png", image_png_rows},
        {"webp-lossless.webp", image_webp_rows},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        AUTO_BUF struct buf file = {0};
        struct image_info info;
        struct error error = {0};
        struct stopper s = {.most = 5};
        struct stop stop = {&s.cancel, 0};
        struct image_sink sink = {&s, IMAGE_OVER_WHITE, 1, stopper_begin, stopper_row, &stop};
        picture_load(kinds[i].name, &file);
        ck_assert_int_eq(image_probe(buf_view(&file), &info, &error), OK);
        ck_assert_int_gt(info.height, 6);
        ck_assert_int_eq(kinds[i].rows(buf_view(&file), &info, &sink, &error), ERR_CANCELLED);
        ck_assert_msg(s.rows == 5, "%s: %d rows", kinds[i].name, s.rows);
        ck_assert_str_eq(error.msg, "the decoding of the picture was cancelled");
        stop = (struct stop){NULL, 1}; // long ago
        ck_assert_int_eq(kinds[i].rows(buf_view(&file), &info, &sink, &error), ERR_TIMEOUT);
        ck_assert_int_eq(s.rows, 5);
    }
}
END_TEST

SUITE_MAIN("image", each_kind_of_picture_gives_the_expected_pixels,
           probe_tells_format_size_and_orientation, orientation_is_left_alone_when_not_asked_for,
           a_picture_cut_anywhere_is_refused_or_whole, a_cut_picture_is_called_truncated,
           any_flipped_byte_is_refused_or_harmless, strangers_are_named,
           bombs_are_refused_before_memory_is_taken, scan_bombs_and_text_bombs_are_refused,
           large_pictures_of_kinds_that_do_not_stream_are_refused,
           a_jpeg_without_its_end_marker_is_whole, exif_that_makes_no_sense_is_no_orientation,
           a_jpeg_with_two_frame_headers_is_refused, decoding_stops_between_rows)
