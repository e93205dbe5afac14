#include "worker/model_set.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct model_set {
    struct predictor *predictors[WORKER_MODELS_MAX];
    size_t count;
    void *scratch;
    size_t scratch_bytes;
};

void model_set_free(struct model_set *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->count; i++)
        predictor_free(m->predictors[i]);
    if (m->scratch != NULL)
        munmap(m->scratch, m->scratch_bytes);
    free(m);
}

size_t model_set_count(const struct model_set *m)
{
    return m->count;
}

struct predictor *model_set_predictor(const struct model_set *m, size_t i)
{
    CHECK(i < m->count);
    return m->predictors[i];
}

static enum err load_one(struct model_set *m, struct span name, const char *search_path,
                         struct error *error)
{
    AUTO_BUF struct buf text = {0};
    buf_add_span(&text, name);
    if (m->count == WORKER_MODELS_MAX)
        return fail(error, ERR_LIMIT, 0, "--model names more than %d models", WORKER_MODELS_MAX);
    TRY(predictor_open(name.len > 0 ? text.data : "", search_path, &m->predictors[m->count],
                       error));
    const char *called = predictor_package(m->predictors[m->count++])->name;
    for (size_t i = 0; i + 1 < m->count; i++)
        if (strcmp(predictor_package(m->predictors[i])->name, called) == 0)
            return fail(error, ERR_ARGUMENT, 0,
                        "--model gives two models with the name '%.100s', and jobs could not tell "
                        "them apart: change \"name\" in one's smelt.json, or give NAME@fp32 and "
                        "NAME@int8",
                        called);
    return OK;
}

static enum err make_scratch(struct model_set *m, struct error *error)
{
    for (size_t i = 0; i < m->count; i++) {
        size_t bytes = predictor_scratch_bytes(m->predictors[i]);
        m->scratch_bytes = bytes > m->scratch_bytes ? bytes : m->scratch_bytes;
    }
    void *scratch =
        mmap(NULL, m->scratch_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (scratch == MAP_FAILED)
        return fail(error, ERR_NOMEM, 0, "no memory for the tensors (%zu MiB)",
                    m->scratch_bytes >> 20);
    m->scratch = scratch;
    madvise(scratch, m->scratch_bytes, MADV_HUGEPAGE); // advice: failure changes nothing
    return OK;
}

static enum err fill(struct model_set *m, const char *list, const char *search_path,
                     struct error *error)
{
    struct span rest = span_from(list);
    do {
        TRY(load_one(m, span_trim(span_cut(rest, ',', &rest)), search_path, error));
    } while (rest.len > 0);
    TRY(make_scratch(m, error));
    for (size_t i = 0; i < m->count; i++)
        TRY(predictor_prepare_in(m->predictors[i], m->scratch, error));
    return OK;
}

enum err model_set_open(const char *list, const char *search_path, struct model_set **out,
                        struct error *error)
{
    struct model_set *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    enum err err = fill(m, list, search_path, error);
    if (err != OK) {
        model_set_free(m);
        return err;
    }
    *out = m;
    return OK;
}

void model_set_cool(struct model_set *m)
{
    madvise(m->scratch, m->scratch_bytes, MADV_DONTNEED);
}

static void finish_digest(struct digest *d, char out[65])
{
    uint8_t bytes[SHA256_BYTES];
    digest_finish(d, bytes);
    digest_free(d);
    hex_encode(bytes, sizeof bytes, out);
}

void model_set_fingerprint(const struct model_set *m, char out[65])
{
    struct digest *d = digest_new(DIGEST_SHA256);
    for (size_t i = 0; i < m->count; i++)
        digest_update(d, predictor_package(m->predictors[i])->fingerprint, 64);
    finish_digest(d, out);
}

enum err model_set_fingerprint_of(const char *list, const char *search_path, char out[65],
                                  struct error *error)
{
    struct digest *d = digest_new(DIGEST_SHA256);
    struct span rest = span_from(list);
    enum err err;
    do {
        AUTO_BUF struct buf name = {0};
        char one[65];
        buf_add_span(&name, span_trim(span_cut(rest, ',', &rest)));
        err = predictor_fingerprint(name.len > 0 ? name.data : "", search_path, one, error);
        digest_update(d, one, 64);
    } while (err == OK && rest.len > 0);
    finish_digest(d, out);
    return err;
}
