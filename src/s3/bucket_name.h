// Names of buckets, as Amazon allows them. Pure.
#pragma once

#include "base/buf.h"

bool bucket_name_valid(struct span name);
