// Watches the folders of model packages (inotify): tells when something changed there and it has
// been quiet for a moment.
#pragma once

#include "base/loop.h"

struct package_watch;

// search_path: folders that hold packages, with colons; names: packages, folders or files as
// --model gives them, with commas. Both are copied. A folder that cannot be watched is left out.
struct package_watch *package_watch_new(struct loop *loop, const char *search_path,
                                        const char *names, void (*on_change)(void *ctx), void *ctx);
void package_watch_free(struct package_watch *w);

// Watches the folders as they are now. packages: folders or .onnx files that were found. No change
// of a folder that was watched before is missed.
void package_watch_reset(struct package_watch *w, const char *const *packages, size_t count);
