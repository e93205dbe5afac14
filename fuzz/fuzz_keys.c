// What gives keys, read with care: the JSON of agents and programs, the XML of STS, the lines of a
// profile. Whatever is taken can stand in a header and is whole. Input: one byte, which reader; the
// text.
#include "aws/ini.h"
#include "aws/keys_internal.h"
#include "base/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool clean(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

static void read_profile(struct span text)
{
    struct ini ini = {.path = "fuzz", .rest = text};
    bool more = true;
    for (int line = 0; ini_next(&ini, &more, NULL) == OK && more; line = ini.line) {
        CHECK(ini.line > line);
        CHECK(ini.name.len == 0 || memchr(ini.name.data, '\n', ini.name.len) == NULL);
        CHECK(ini.value.len == 0 || memchr(ini.value.data, '\n', ini.value.len) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct credentials c;
    if (size < 1)
        return 0;
    struct span text = {(const char *)data + 1, size - 1};
    if (data[0] % 3 == 0) {
        read_profile(text);
        return 0;
    }
    enum err err =
        data[0] % 3 == 1 ? keys_read_json(text, "it", &c, NULL) : keys_read_sts(text, &c, NULL);
    CHECK(clean(c.access_key) && clean(c.secret_key) && clean(c.session_token));
    CHECK((err == OK) == (c.access_key[0] != '\0' && c.secret_key[0] != '\0'));
    return 0;
}
