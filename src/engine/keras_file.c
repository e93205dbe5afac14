#include "engine/keras_file.h"

#include "base/check.h"
#include "base/limits.h"
#include "engine/keras_zip.h"

#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct keras_file {
    struct span image; // the HDF5 file
    bool archived;
    hid_t hdf5;
    struct keras_array *arrays;
    size_t count, cap;
};

// Paths of groups that are still to be looked into, and what the look gives.
struct walk {
    struct keras_file *file;
    struct buf names; // of the links of one group, each with its 0 byte
    size_t links;     // seen in the whole file
    struct error *error;
    enum err err;
};

// ---- HDF5's complaints ------------------------------------------------------------------------

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *ctx)
{
    if (n == 0)
        *(const char **)ctx = e->desc;
    return 0;
}

// The reason is the innermost entry of the library's error stack: to be called before the library
// is called for anything else.
static enum err PRINTF_LIKE(2, 3) damaged(struct error *error, const char *fmt, ...)
{
    const char *reason = NULL;
    char text[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &reason);
    fail(error, ERR_FORMAT, 0, "%s: the HDF5 file is damaged or cut off (%.120s)", text,
         reason != NULL ? reason : "no reason given");
    H5Eclear2(H5E_DEFAULT);
    return ERR_FORMAT;
}

// ---- one array --------------------------------------------------------------------------------

// Data in the file itself, packed at most by filters that are part of the library.
static enum err check_storage(hid_t set, const char *path, struct error *error)
{
    hid_t plist = H5Dget_create_plist(set);
    if (plist < 0)
        return damaged(error, "'%s'", path);
    H5D_layout_t layout = H5Pget_layout(plist);
    int external = layout == H5D_CONTIGUOUS ? H5Pget_external_count(plist) : 0;
    enum err err = OK;
    if (external != 0 || layout == H5D_VIRTUAL)
        err = fail(error, ERR_UNSUPPORTED, 0, "'%s' keeps its data in another file", path);
    int filters = layout == H5D_CHUNKED ? H5Pget_nfilters(plist) : 0;
    for (int i = 0; i < filters && err == OK; i++) {
        unsigned flags, config;
        size_t values = 0;
        H5Z_filter_t f =
            H5Pget_filter2(plist, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        if (f != H5Z_FILTER_DEFLATE && f != H5Z_FILTER_SHUFFLE && f != H5Z_FILTER_FLETCHER32)
            err = fail(error, ERR_UNSUPPORTED, 0, "'%s' is packed by filter %d, not supported",
                       path, (int)f);
    }
    hsize_t chunk[H5S_MAX_RANK], elements = 1;
    int rank = layout == H5D_CHUNKED ? H5Pget_chunk(plist, H5S_MAX_RANK, chunk) : 0;
    for (int i = 0; i < rank && i < H5S_MAX_RANK && elements <= MODEL_ELEMENTS_MAX; i++)
        elements = chunk[i] > MODEL_ELEMENTS_MAX ? chunk[i] : elements * chunk[i];
    if (err == OK && elements > MODEL_ELEMENTS_MAX)
        err = fail(error, ERR_LIMIT, 0, "'%s' is in pieces of over %d elements", path,
                   MODEL_ELEMENTS_MAX);
    H5Pclose(plist);
    return err;
}

static enum err array_shape(hid_t set, struct keras_array *a, struct error *error)
{
    hsize_t dims[H5S_MAX_RANK];
    hid_t space = H5Dget_space(set), type = H5Dget_type(set);
    int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    bool good = type >= 0 && rank >= 0 && rank <= H5S_MAX_RANK &&
                H5Sget_simple_extent_dims(space, dims, NULL) == rank;
    if (good) {
        size_t bytes = H5Tget_size(type);
        a->is_float = H5Tget_class(type) == H5T_FLOAT && (bytes == 2 || bytes == 4 || bytes == 8);
        a->rank = rank <= KERAS_RANK_MAX ? rank : -1;
    }
    enum err err = good ? OK : damaged(error, "'%s'", a->path);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    TRY(err);
    for (int i = 0; i < a->rank; i++) {
        if (dims[i] > MODEL_ELEMENTS_MAX)
            return fail(error, ERR_LIMIT, 0, "'%s' says it has an axis of %llu elements", a->path,
                        (unsigned long long)dims[i]);
        a->dims[i] = (int64_t)dims[i];
    }
    return OK;
}

static enum err add_array(struct keras_file *f, hid_t set, const char *path, struct error *error)
{
    struct keras_array a = {.path = strdup(path)};
    CHECK(a.path != NULL);
    enum err err = array_shape(set, &a, error);
    if (err == OK)
        err = check_storage(set, path, error);
    if (err != OK) {
        free(a.path);
        return err;
    }
    if (f->count == f->cap) {
        f->cap = f->cap > 0 ? 2 * f->cap : 256;
        f->arrays = realloc(f->arrays, f->cap * sizeof *f->arrays);
        CHECK(f->arrays != NULL);
    }
    f->arrays[f->count++] = a;
    return OK;
}

// ---- walking through the groups ---------------------------------------------------------------

static herr_t on_link(hid_t group, const char *name, const H5L_info_t *info, void *ctx)
{
    struct walk *w = ctx;
    (void)group;
    if (info->type != H5L_TYPE_HARD)
        w->err = fail(w->error, ERR_UNSUPPORTED, 0,
                      "'%.100s' is a link to another place; Keras writes none", name);
    else if (++w->links > KERAS_LINKS_MAX)
        w->err = fail(w->error, ERR_LIMIT, 0, "the file has over %d names", KERAS_LINKS_MAX);
    else
        buf_add(&w->names, name, strlen(name) + 1);
    return w->err != OK ? -1 : 0;
}

static enum err list_group(struct walk *w, const char *path)
{
    hid_t group = H5Gopen2(w->file->hdf5, path[0] != '\0' ? path : "/", H5P_DEFAULT);
    if (group < 0)
        return damaged(w->error, "group '%s'", path);
    buf_clear(&w->names);
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, on_link, w) < 0 && w->err == OK)
        w->err = damaged(w->error, "group '%s'", path);
    H5Gclose(group);
    return w->err;
}

static enum err look_at(struct walk *w, const char *path, struct buf *groups)
{
    hid_t object = H5Oopen(w->file->hdf5, path, H5P_DEFAULT);
    if (object < 0)
        return damaged(w->error, "'%s'", path);
    enum err err = OK;
    H5I_type_t type = H5Iget_type(object);
    if (type == H5I_GROUP)
        buf_add(groups, path, strlen(path) + 1);
    else if (type == H5I_DATASET)
        err = add_array(w->file, object, path, w->error);
    H5Oclose(object);
    return err;
}

// Breadth first; a file whose groups contain each other ends at the depth's limit.
static enum err walk_groups(struct walk *w, struct buf *groups)
{
    buf_add(groups, "", 1);
    for (size_t at = 0; at < groups->len; at += strlen(groups->data + at) + 1) {
        AUTO_BUF struct buf parent = {0}, path = {0};
        buf_add_text(&parent, groups->data + at);
        TRY(list_group(w, parent.data != NULL ? parent.data : ""));
        int depth = parent.len > 0 ? 2 : 1;
        for (size_t i = 0; i < parent.len; i++)
            depth += parent.data[i] == '/';
        const char *name = w->names.data;
        for (size_t i = 0; i < w->names.len; i += strlen(w->names.data + i) + 1) {
            name = w->names.data + i;
            buf_clear(&path);
            buf_printf(&path, "%.*s%s%s", (int)parent.len, parent.data != NULL ? parent.data : "",
                       parent.len > 0 ? "/" : "", name);
            if (depth > KERAS_DEPTH_MAX || path.len > KERAS_PATH_BYTES_MAX)
                return fail(w->error, ERR_LIMIT, 0, "'%.200s…' is nested too deep", path.data);
            TRY(look_at(w, path.data, groups));
        }
    }
    return OK;
}

// ---- opening ----------------------------------------------------------------------------------

// A driver of HDF5's for a file that lies in memory, read-only. The library's own would look for a
// file of that name on the disk.
struct memory {
    H5FD_t base; // the library's part
    struct span bytes;
    haddr_t eoa; // how far the library has claimed the file
};

static H5FD_t *memory_open(const char *name, unsigned flags, hid_t access, haddr_t max)
{
    (void)name, (void)flags, (void)max;
    const struct span *bytes = H5Pget_driver_info(access);
    struct memory *m = bytes != NULL ? calloc(1, sizeof *m) : NULL;
    if (m == NULL)
        return NULL;
    m->bytes = *bytes;
    return &m->base;
}

static herr_t memory_close(H5FD_t *file)
{
    free(file);
    return 0;
}

static herr_t memory_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = 0;
    return 0;
}

static haddr_t memory_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const struct memory *)file)->eoa;
}

static herr_t memory_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t eoa)
{
    (void)type;
    ((struct memory *)file)->eoa = eoa;
    return 0;
}

static haddr_t memory_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const struct memory *)file)->bytes.len;
}

static herr_t memory_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size,
                          void *out)
{
    (void)type, (void)transfer;
    const struct memory *m = (const struct memory *)file;
    if (at > m->bytes.len || size > m->bytes.len - at)
        return -1;
    memcpy(out, m->bytes.data + at, size);
    return 0;
}

static herr_t memory_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size,
                           const void *bytes)
{
    (void)file, (void)type, (void)transfer, (void)at, (void)size, (void)bytes;
    return -1;
}

static const H5FD_class_t memory_driver = {
    .name = "smelt_memory",
    .maxaddr = HADDR_MAX - 1,
    .fc_degree = H5F_CLOSE_STRONG, // with the file, everything of it is closed
    .fapl_size = sizeof(struct span),
    .open = memory_open,
    .close = memory_close,
    .query = memory_query,
    .get_eoa = memory_eoa,
    .set_eoa = memory_set_eoa,
    .get_eof = memory_eof,
    .read = memory_read,
    .write = memory_write,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

static enum err open_image(struct span image, hid_t *out, struct error *error)
{
    hid_t driver = H5FDregister(&memory_driver);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = -1;
    if (driver >= 0 && access >= 0 && H5Pset_driver(access, driver, &image) >= 0)
        // absolute: of another name it asks for the working directory
        file = H5Fopen("/weights", H5F_ACC_RDONLY, access);
    enum err err = file >= 0 ? OK : damaged(error, "cannot be opened");
    if (access >= 0)
        H5Pclose(access);
    if (driver >= 0)
        H5FDunregister(driver); // the open file keeps it
    *out = file;
    return err;
}

static enum err find_image(struct span bytes, struct keras_file *f, struct error *error)
{
    if (zip_is(bytes)) {
        f->archived = true;
        return zip_find(bytes, "model.weights.h5", &f->image, error);
    }
    if (!span_starts(bytes, "\x89HDF\r\n\x1a\n")) {
        size_t shown = 0;
        while (shown < bytes.len && shown < 20 && bytes.data[shown] >= ' ' &&
               bytes.data[shown] < 127)
            shown++;
        return fail(error, ERR_FORMAT, 0,
                    "neither an HDF5 file (.h5) nor a .keras archive: %zu bytes that start with "
                    "'%.*s'",
                    bytes.len, (int)shown, bytes.data != NULL ? bytes.data : "");
    }
    f->image = bytes;
    return OK;
}

enum err keras_file_prepare(struct error *error)
{
    if (H5open() < 0)
        return fail(error, ERR_INTERNAL, 0, "the HDF5 library does not start");
    return OK;
}

enum err keras_file_open(struct span bytes, struct keras_file **out, struct error *error)
{
    struct keras_file *f = calloc(1, sizeof *f);
    CHECK(f != NULL);
    f->hdf5 = -1;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); // it would print
    H5PLset_loading_state(0);
    enum err err = find_image(bytes, f, error);
    if (err == OK && f->image.len > KERAS_FILE_BYTES_MAX)
        err = fail(error, ERR_LIMIT, 0, "over %d MiB", KERAS_FILE_BYTES_MAX >> 20);
    if (err == OK)
        err = open_image(f->image, &f->hdf5, error);
    if (err == OK) {
        AUTO_BUF struct buf groups = {0};
        struct walk w = {.file = f, .error = error};
        err = walk_groups(&w, &groups);
        buf_release(&w.names);
    }
    if (err != OK) {
        keras_file_close(f);
        return err;
    }
    *out = f;
    return OK;
}

void keras_file_close(struct keras_file *f)
{
    if (f == NULL)
        return;
    if (f->hdf5 >= 0)
        H5Fclose(f->hdf5);
    for (size_t i = 0; i < f->count; i++)
        free(f->arrays[i].path);
    free(f->arrays);
    free(f);
}

bool keras_file_archived(const struct keras_file *f)
{
    return f->archived;
}

const struct keras_array *keras_file_arrays(const struct keras_file *f, size_t *count)
{
    *count = f->count;
    return f->arrays;
}

enum err keras_file_read(struct keras_file *f, const struct keras_array *array, float *out,
                         struct error *error)
{
    CHECK(array->is_float && array->rank >= 0);
    hid_t set = H5Dopen2(f->hdf5, array->path, H5P_DEFAULT);
    if (set < 0)
        return damaged(error, "'%s'", array->path);
    enum err err = OK;
    if (H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
        err = damaged(error, "data of '%s'", array->path);
    H5Dclose(set);
    return err;
}
