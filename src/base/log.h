// Log: one `key=value` line per event on stderr, event name first after time and level.
// No message bodies, no keys, no signatures. Values with spaces are quoted by the caller ("%s"
// inside \"\") or, when they come from outside, by log_quote().
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

// The role's name stands in each line ("role=sqs"). level: lines below are dropped.
void log_init(const char *role, enum log_level level);
// Accepts "debug", "info", "warn", "error". Returns -1 on anything else.
int log_level_parse(const char *name);

// log_event(LOG_INFO, "worker_started", "pid=%d model=%s", pid, name)
void log_event(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

bool log_shows(enum log_level level); // whether lines of this level are written

// Writes text in quotes with control characters, quotes, backslashes, and all bytes that are no
// UTF-8, escaped; cut at out_size.
const char *log_quote(const char *text, char *out, size_t out_size);
