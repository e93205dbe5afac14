// A file from the network: resumed where an earlier try stopped, and taken only when its MD5 is
// right. A progress bar where standard error is a terminal.
#pragma once

#include "base/buf.h"

struct download {
    const char *url;  // http:// or https://
    const char *path; // the folder must be there; until it is whole, "PATH.part"
    const char *md5;  // 32 hexadecimal digits
    uint64_t bytes_max;
};

// A file at path that is right already costs no request. Errors: ERR_NET, ERR_TIMEOUT (part of it
// may be there: the same call goes on from it), ERR_NOT_FOUND, ERR_FORMAT (another file than
// expected; nothing is kept), ERR_UNSUPPORTED (a redirect), ERR_LIMIT, ERR_BUSY (another download
// to this path), ERR_FULL, ERR_IO. Messages name the URL.
enum err download_run(const struct download *d, struct error *error) MUST_CHECK;
