// smelt check: the parts of a data directory, each looked at without changing anything.
#pragma once

#include "cli/options.h"

#include <jansson.h>

struct check {
    const struct options *options;
    bool json;
    size_t damages; // of all parts
};

// A finding: {"part":…,"file":…,"at":…,"damage":…}, or a line for people. at < 0: no place.
void check_damage(struct check *c, const char *part, const char *file, int64_t at, int64_t bytes,
                  const char *text);
// A line of the report for people; nothing with --json or --dump.
void check_say(const struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void check_json(const struct check *c, json_t *line); // takes line; nothing without --json

// The parts. An error is one that kept from looking.
enum err check_queues(struct check *c, const char *dir, struct error *error) MUST_CHECK;
enum err check_objects(struct check *c, const char *dir, struct error *error) MUST_CHECK;
