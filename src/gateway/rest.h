// REST: routes requests, and writes every answer but the page's. docs/protocol.md has the contract.
#pragma once

#include "gateway/core.h"

extern const struct http_handlers rest_handlers; // ctx: the gateway; to be copied and filled in

// Takes body's memory. Adds Content-Type, Cache-Control and X-Request-Id to headers (at most 4).
void rest_reply_json(struct http_request *r, int status, const struct http_header *headers,
                     size_t header_count, struct buf *body);
// 200 with the JSON as one server-sent event; who wants the next one asks again, as browsers do.
void rest_reply_event(struct http_request *r, struct buf *json);
// {"error":{"code","message"}}; 429 and 503 get Retry-After.
void rest_reply_error(struct http_request *r, int status, const char *code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
