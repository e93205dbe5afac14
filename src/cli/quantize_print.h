// What `smelt model quantize` found, for people and for programs; on standard output.
#pragma once

#include "engine/quantize.h"

void quantize_print(const struct quantize_report *r, const char *folder, size_t pictures);
void quantize_print_json(const struct quantize_report *r, const char *folder, size_t pictures);
