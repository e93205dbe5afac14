// Receipt handles: which receive of which message a client holds. They survive restarts and cannot
// be made up (SipHash-2-4 with the store's key). Pure.
#pragma once

#include "base/buf.h"

struct receipt {
    uint64_t queue;         // id of the queue that it was received from
    uint64_t message;       // id
    uint64_t boot;          // sequence of the record that began the process's life
    int64_t received_at_ms; // store time
    uint32_t slot;          // of the message in the index
    uint32_t count;         // which receive of the message, from 1
};

enum { RECEIPT_KEY_BYTES = 16, RECEIPT_TEXT_BYTES = 64 };

// Exactly RECEIPT_TEXT_BYTES characters of base64.
void receipt_encode(const struct receipt *r, const uint8_t key[RECEIPT_KEY_BYTES], struct buf *out);
bool receipt_decode(struct span text, const uint8_t key[RECEIPT_KEY_BYTES], struct receipt *out);
