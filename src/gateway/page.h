// The page and its assets (web/), linked into the program.
#pragma once

#include "http/server.h"

// Replies if the path is one of the page's; false: it is not. The request is a GET or HEAD.
bool page_reply(struct http_request *r);
