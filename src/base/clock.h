// Time. Deadlines inside a process use the monotonic clock (BOOTTIME: it goes on in suspend);
// what is stored or shown uses the wall clock.
#pragma once

#include <stdbool.h>
#include <stdint.h>

int64_t clock_monotonic_ms(void);
int64_t clock_monotonic_us(void);
int64_t clock_wall_ms(void); // since 1970-01-01T00:00:00Z

enum { CLOCK_ISO_BYTES = 32 };
// "2026-01-31T12:00:00.123Z"
const char *clock_iso8601(int64_t wall_ms, char out[CLOCK_ISO_BYTES]);
// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
int64_t clock_days(int year, int month, int day);
// Reads that form, with any number of decimals or none; only in UTC ('Z'). From 1970 on.
bool clock_parse_iso8601(const char *text, int64_t *wall_ms);
// "20260131T120000Z", the form that AWS signatures use
const char *clock_amz_date(int64_t wall_ms, char out[CLOCK_ISO_BYTES]);
// "Sat, 31 Jan 2026 12:00:00 GMT" (RFC 9110)
const char *clock_http_date(int64_t wall_ms, char out[CLOCK_ISO_BYTES]);
