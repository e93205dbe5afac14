#include "s3/bucket_name.h"

#include "base/limits.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool bucket_name_valid(struct span name)
{
    bool digits = true;
    int dots = 0;
    if (name.len < 3 || name.len > S3_BUCKET_NAME_BYTES_MAX)
        return false;
    if (!is_alnum(name.data[0]) || !is_alnum(name.data[name.len - 1]))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!is_alnum(c) && c != '-' && c != '.')
            return false;
        // a dot has a letter or digit on both sides
        if (c == '.' && (!is_alnum(name.data[i - 1]) || !is_alnum(name.data[i + 1])))
            return false;
        dots += c == '.';
        digits = digits && (c == '.' || (c >= '0' && c <= '9'));
    }
    return !(digits && dots == 3); // an IP address
}
