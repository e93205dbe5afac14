// A job's trace id: 32 hexadecimal digits, the same from upload to result. Taken from what a client
// sends (W3C Trace Context, AWS X-Ray), else made. Pure but for trace_make.
#pragma once

#include "base/buf.h"

enum { TRACE_ID_BYTES = 33 }; // with its '\0'

bool trace_valid(struct span id); // 32 lower-case digits, not all of them 0
// traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
bool trace_from_parent(struct span header, char out[TRACE_ID_BYTES]);
// X-Amzn-Trace-Id and SQS's AWSTraceHeader: "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
bool trace_from_amazon(struct span header, char out[TRACE_ID_BYTES]);
void trace_make(char out[TRACE_ID_BYTES]);
// "Root=1-5759e988-bd862e3fe1be46a994272793", as Amazon's services want it. id: valid.
enum { TRACE_AMAZON_BYTES = 41 };
void trace_to_amazon(const char *id, char out[TRACE_AMAZON_BYTES]);
