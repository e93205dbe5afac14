#include "engine/package_default.h"

#include "base/buf.h"

#include <unistd.h>

const char *package_default_name(const char *search_path)
{
    for (struct span rest = span_from(search_path); rest.len > 0;) {
        struct span part = span_cut(rest, ':', &rest);
        AUTO_BUF struct buf path = {0};
        buf_printf(&path, "%.*s/xception/smelt.json", (int)part.len, part.data);
        if (part.len > 0 && access(path.data, R_OK) == 0)
            return "xception";
    }
    return "demo";
}
