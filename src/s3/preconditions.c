#include "s3/preconditions.h"

#include <string.h>
#include <time.h>

bool http_date_parse(struct span text, int64_t *wall_s)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %d %H:%M:%S %Y"};
    char copy[64];
    text = span_trim(text);
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.data, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm tm = {
            0}; // names of days and months in C's locale: the program never sets another
        const char *end = strptime(copy, forms[i], &tm);
        if (end != NULL && *end == '\0') {
            *wall_s = (int64_t)timegm(&tm);
            return true;
        }
    }
    return false;
}

static struct span unquote(struct span s)
{
    if (s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"')
        return (struct span){s.data + 1, s.len - 2};
    return s;
}

bool etag_list_has(struct span list, const char *etag)
{
    struct span wanted = unquote(span_from(etag));
    while (list.len > 0) {
        struct span one = span_trim(span_cut(list, ',', &list));
        if (span_is(one, "*"))
            return true;
        if (span_starts(one, "W/"))
            one = (struct span){one.data + 2, one.len - 2};
        if (span_equal(unquote(one), wanted))
            return true;
    }
    return false;
}

enum precondition_verdict preconditions_check(const struct preconditions *p, const char *etag,
                                              int64_t modified_ms)
{
    int64_t date_s, modified_s = modified_ms / 1000; // what Last-Modified says
    if (p->if_match.len > 0) {
        if (!etag_list_has(p->if_match, etag))
            return CONDITION_FAILED;
    } else if (http_date_parse(p->if_unmodified_since, &date_s) && modified_s > date_s) {
        return CONDITION_FAILED;
    }
    if (p->if_none_match.len > 0)
        return etag_list_has(p->if_none_match, etag) ? CONDITION_NOT_MODIFIED : CONDITION_HOLDS;
    if (http_date_parse(p->if_modified_since, &date_s) && modified_s <= date_s)
        return CONDITION_NOT_MODIFIED;
    return CONDITION_HOLDS;
}
