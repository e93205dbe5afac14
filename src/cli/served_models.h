// The models that a gateway names: of --model, under the names that the pool of this machine says
// it serves; where there is none, as the packages on this machine say. Follows both as they change.
#pragma once

#include "base/loop.h"
#include "gateway/gateway.h"

struct served_models;

// list: --model, borrowed like data (--data, NULL: no pool's word) and search_path (of packages).
// on_change: the list is another one; the one before is valid until it returns. ERR_ARGUMENT,
// ERR_LIMIT: a list that names none, or too many; else package_open's, of a package given by path.
enum err served_models_open(struct loop *loop, const char *list, const char *search_path,
                            const char *data, void (*on_change)(void *ctx), void *ctx,
                            struct served_models **out, struct error *error) MUST_CHECK;
void served_models_close(struct served_models *s); // NULL allowed
const struct gateway_model *served_models_list(const struct served_models *s, size_t *count);
