// Where a job's owner is told. Pure.
#pragma once

#include "base/buf.h"

// The queue that reply_to (a URL, or a name) names, as it is called from here: a message is data,
// never an address. Only the name is used, and only of a reply queue beside ours (queue_url).
// False: it names none.
bool reply_url(const char *queue_url, const char *reply_to, struct buf *out);
