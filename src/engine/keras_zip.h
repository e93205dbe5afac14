// One file out of a ZIP archive that does not compress, as `.keras` archives are. Pure.
// Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16.
#pragma once

#include "base/buf.h"

bool zip_is(struct span bytes); // starts as an archive does
// *out: a view into bytes. Its CRC-32 is checked. ERR_FORMAT, ERR_NOT_FOUND, ERR_UNSUPPORTED
// (compressed, encrypted, over 4 GiB).
enum err zip_find(struct span bytes, const char *name, struct span *out,
                  struct error *error) MUST_CHECK;
