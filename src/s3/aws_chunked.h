// Decoder of the aws-chunked coding, in which SDKs send bodies whose hash they do not know
// beforehand:
//
//     HEX-SIZE[;chunk-signature=64 HEX] CRLF  bytes CRLF  …  0[;chunk-signature=…] CRLF
//     [name:value CRLF … [x-amz-trailer-signature:64 HEX CRLF]] CRLF
//
// Incremental: pieces may be cut anywhere. With a signature each chunk continues the chain that the
// request's signature begins, and is checked when it ends; what was passed on before must not be
// used until aws_chunked_done says true. Pure.
// Source: "Signature calculations: transferring a payload in multiple chunks", with and without
// trailers.
#pragma once

#include "base/digest.h"

enum {
    CHUNK_LINE_BYTES_MAX = 1024, // a size line or a trailer line
    CHUNK_TRAILERS_MAX = 8,
};

struct aws_chunked_config {
    bool with_signature, with_trailer;
    // with_signature:
    uint8_t signing_key[32];
    char amz_date[20];  // "20260131T120000Z"
    char scope[128];    // "20260131/us-east-1/s3/aws4_request"
    char signature[65]; // of the request: the chain's begin
};

enum chunked_state {
    CHUNKED_SIZE,    // in a size line
    CHUNKED_DATA,    // in a chunk's bytes
    CHUNKED_DATA_CR, // behind them
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER, // in a line of the trailer
    CHUNKED_END,
};

struct aws_chunked {
    struct aws_chunked_config config;
    enum chunked_state state;
    uint64_t left; // bytes of the chunk still to come
    size_t line_len;
    char line[CHUNK_LINE_BYTES_MAX];
    char claimed[65];      // signature of the chunk under way
    struct digest *sha256; // of the chunk under way
    struct buf trailers;   // "name:value\n" each, as signed
    size_t trailer_count;
    bool trailer_signature_seen;
};

// Gets the decoded bytes; a failure ends the feed with it.
typedef enum err aws_chunked_sink(void *ctx, struct span piece, struct error *error);

void aws_chunked_init(struct aws_chunked *c, const struct aws_chunked_config *config);
void aws_chunked_release(struct aws_chunked *c);
// ERR_FORMAT: not the coding; ERR_DENIED: a signature does not match; ERR_LIMIT: a line or the
// trailer is too long. After a failure only release.
enum err aws_chunked_feed(struct aws_chunked *c, struct span piece, aws_chunked_sink *sink,
                          void *ctx, struct error *error) MUST_CHECK;
bool aws_chunked_done(const struct aws_chunked *c); // all came, to the last line
// Value of a trailer (name in lower case), empty if absent. A view.
struct span aws_chunked_trailer(const struct aws_chunked *c, const char *name);
