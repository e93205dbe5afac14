// What poller, zygote and children say to each other: packets on SOCK_SEQPACKET sockets, one packet
// one message, all on one machine and of one build. Pictures go through shared memory.
//
//   poller ─ request ─▶ zygote   start a child on a slot (with two descriptors), kill one
//   poller ◀─ report ── zygote   the models are loaded, or why not; a child died
//   poller ─── job ───▶ child    "the picture is in lane 1"; two lanes, so the next one is there
//   poller ◀─ answer ── child    ready; predictions as JSON, or an error
//
// A child has decoded foreign bytes: the poller checks every field of an answer.
#pragma once

#include "worker/crew.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { CHILD_LANES = 2 };

// The slot's shared memory: a page of the poller's, a page of the child's, CHILD_LANES notes, then
// CHILD_LANES pictures of IMAGE_BYTES_MAX. All but its own page a child maps read-only. Pages that
// no picture touched cost nothing.
struct slot_page {
    atomic_int cancel[CHILD_LANES]; // not 0: the job in this lane is not wanted any more
};
// Read by the zygote when the child has died. Any value may stand there.
struct slot_trace {
    atomic_int model; // of the job
    atomic_int where; // what the predictor does (engine/predictor.h)
};
#define SLOT_PAGE_BYTES ((size_t)4096)
#define SLOT_TRACE_OFFSET SLOT_PAGE_BYTES
// In the child's page too, of a pool with a program handler: how the program ended.
#define SLOT_REASON_AT ((size_t)1024)
enum { SLOT_REASON_BYTES = 400 };
// For programs: the job as JSON, one for each lane, behind the two pages.
#define SLOT_NOTES_OFFSET (2 * SLOT_PAGE_BYTES)
#define SLOT_NOTE_BYTES_MAX ((size_t)8192) // a key of 1024 bytes as \u00XX has 6144
#define SLOT_LANES_OFFSET (SLOT_NOTES_OFFSET + CHILD_LANES * SLOT_NOTE_BYTES_MAX)
#define SLOT_BYTES (SLOT_LANES_OFFSET + (size_t)CHILD_LANES * IMAGE_BYTES_MAX)

static inline size_t slot_lane_offset(uint32_t lane)
{
    return SLOT_LANES_OFFSET + lane * (size_t)IMAGE_BYTES_MAX;
}

static inline size_t slot_note_offset(uint32_t lane)
{
    return SLOT_NOTES_OFFSET + lane * SLOT_NOTE_BYTES_MAX;
}

enum zygote_request_kind {
    ZYGOTE_START,
    ZYGOTE_KILL,
    ZYGOTE_LOAD, // there is room: the answer to ZYGOTE_LOADS
};

struct zygote_request {
    uint32_t kind;
    uint32_t slot;   // < WORKER_CHILDREN_MAX
    uint32_t serial; // of the child: comes back in the report of its death
};
// ZYGOTE_START carries descriptors: the child's end of its socket, the slot's memory, the writing
// end of the pipe that is its standard error.
enum { ZYGOTE_START_FDS = 3 };

// ZYGOTE_SAME; or ZYGOTE_LOADS, and when it may one ZYGOTE_MODEL for each model, in the order of
// --model, then ZYGOTE_READY; or, at any time before, ZYGOTE_FAILED.
enum zygote_report_kind {
    ZYGOTE_LOADS, // it would load now, and waits until there is room in memory
    ZYGOTE_MODEL,
    ZYGOTE_READY,
    ZYGOTE_SAME, // nothing was loaded: the packages are what a generation has already
    ZYGOTE_FAILED,
    ZYGOTE_DIED, // a child
};

enum { PACKAGE_FOLDER_BYTES_MAX = 512 };

struct zygote_report {
    uint32_t kind;
    uint32_t slot;
    uint32_t serial;
    uint32_t which; // ZYGOTE_SAME: of the fingerprints given to it
    int32_t pid;
    int32_t wait_status;                   // ZYGOTE_DIED: of waitpid; -1: fork failed
    uint64_t child_bytes, shared_bytes;    // ZYGOTE_READY: memory, measured: a child's own; shared
    struct crew_model model;               // ZYGOTE_MODEL
    char folder[PACKAGE_FOLDER_BYTES_MAX]; // ZYGOTE_MODEL: of the package, or its ONNX file
    char fingerprint[65];                  // ZYGOTE_READY: of all that was loaded
    char sentence[500]; // ZYGOTE_FAILED: why; ZYGOTE_DIED: what the child was doing
                        // (of a program: how it ended), "" unknown
};

struct child_job {
    uint32_t lane;
    uint32_t model;
    uint32_t picture_bytes;
    uint32_t note_bytes; // of its note; 0: none
    uint32_t timeout_ms; // from the moment the child begins it
    int64_t deadline_ms; // monotonic; 0: none
};

enum child_answer_kind {
    CHILD_READY,  // sandboxed, its memory is made: text lists the layers of the sandbox
    CHILD_BROKEN, // it cannot work: err and the sentence in text; it ends
    CHILD_DONE,   // a job: err OK and JSON in text, or err and a sentence
};

struct child_answer {
    uint32_t kind;
    uint32_t lane;
    uint32_t err; // enum err
    uint32_t text_bytes;
    int64_t decode_us, infer_us;
    char text[WORKER_ANSWER_BYTES_MAX]; // only text_bytes of it are sent
};
#define CHILD_ANSWER_HEAD_BYTES offsetof(struct child_answer, text)
