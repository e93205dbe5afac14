#include "cli/picture_list.h"

#include "base/check.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static void add(struct picture_list *list, char *path)
{
    CHECK(path != NULL);
    if (list->count == list->cap) {
        list->cap = list->cap > 0 ? 2 * list->cap : 64;
        list->paths = realloc(list->paths, list->cap * sizeof *list->paths);
        CHECK(list->paths != NULL);
    }
    list->paths[list->count++] = path;
}

static int is_picture(const struct dirent *entry)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(entry->d_name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return 1;
    return 0;
}

enum err picture_list_add(struct picture_list *list, const char *path, struct error *error)
{
    struct stat st;
    struct dirent **found;
    if (stat(path, &st) != 0)
        return fail(error, err_from_errno(errno), errno, "picture '%s'", path);
    if (!S_ISDIR(st.st_mode)) {
        add(list, strdup(path));
        return OK;
    }
    int count = scandir(path, &found, is_picture, alphasort);
    if (count < 0)
        return fail(error, err_from_errno(errno), errno, "folder '%s'", path);
    for (int i = 0; i < count; i++) {
        AUTO_BUF struct buf name = {0};
        buf_printf(&name, "%s/%s", path, found[i]->d_name);
        add(list, buf_take(&name, NULL));
        free(found[i]);
    }
    free(found);
    if (count == 0)
        return fail(error, ERR_NOT_FOUND, 0, "no .jpg, .png or .webp in folder '%s'", path);
    return OK;
}

void picture_list_release(struct picture_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
    *list = (struct picture_list){0};
}

static double next(uint32_t *noise) // in 0..1
{
    *noise = *noise * 1664525u + 1013904223u;
    return (double)(*noise >> 8) / (double)(1 << 24);
}

enum err picture_generate(uint32_t number, const struct preprocess *pre, float *out,
                          struct error *error)
{
    enum { SIDE = 128, WAVES = 6 };
    static const double TURN = 6.28318530717958648;
    uint8_t *pixels = malloc(3 * SIDE * SIDE);
    double x_turns[WAVES], y_turns[WAVES], phase[WAVES][3], height[WAVES][3];
    uint32_t noise = number * 2654435761u + 1;
    CHECK(pixels != NULL);
    for (int w = 0; w < WAVES; w++) {
        double most = (double)(1 << w) / 2; // from slow to fast
        x_turns[w] = (2 * next(&noise) - 1) * most;
        y_turns[w] = (2 * next(&noise) - 1) * most;
        for (int c = 0; c < 3; c++) {
            phase[w][c] = next(&noise);
            height[w][c] = next(&noise) * 160 / (w + 1);
        }
    }
    double grain = next(&noise) * 40;
    for (int i = 0; i < SIDE * SIDE; i++)
        for (int c = 0; c < 3; c++) {
            double v = 128 + grain * (next(&noise) - 0.5);
            for (int w = 0; w < WAVES; w++)
                v += height[w][c] *
                     sin(TURN * (x_turns[w] * (i % SIDE) / SIDE +
                                 y_turns[w] * (double)(i / SIDE) / SIDE + phase[w][c]));
            pixels[3 * i + c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    struct image image = {SIDE, SIDE, pixels};
    enum err err = image_to_tensor(&image, pre, out, error);
    free(pixels);
    return err;
}
