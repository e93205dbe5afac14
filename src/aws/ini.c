#include "aws/ini.h"

static struct span without_comment(struct span s)
{
    if (s.len > 0 && (s.data[0] == '#' || s.data[0] == ';'))
        return SPAN("");
    for (size_t i = 1; i < s.len; i++)
        if ((s.data[i] == '#' || s.data[i] == ';') &&
            (s.data[i - 1] == ' ' || s.data[i - 1] == '\t'))
            return span_trim((struct span){s.data, i});
    return s;
}

static enum err take_section(struct ini *ini, struct span line, struct error *error)
{
    struct span behind;
    if (line.data[line.len - 1] != ']')
        return fail(error, ERR_FORMAT, 0, "%s:%d: the [section] is not closed", ini->path,
                    ini->line);
    ini->section = span_trim((struct span){line.data + 1, line.len - 2});
    if (span_starts(ini->section, "profile ")) { // the config file's form
        span_cut(ini->section, ' ', &behind);
        ini->section = span_trim(behind);
    }
    ini->group = SPAN("");
    return OK;
}

enum err ini_next(struct ini *ini, bool *more, struct error *error)
{
    while (ini->rest.len > 0) {
        struct span raw = span_cut(ini->rest, '\n', &ini->rest);
        ini->line++;
        if (raw.len > 0 && raw.data[raw.len - 1] == '\r')
            raw.len--;
        struct span line = without_comment(span_trim(raw));
        if (line.len == 0)
            continue;
        if (line.data[0] == '[') {
            TRY(take_section(ini, line, error));
            continue;
        }
        bool below = ini->group.len > 0 && (raw.data[0] == ' ' || raw.data[0] == '\t');
        ini->name = span_trim(span_cut(line, '=', &ini->value));
        if (ini->name.len == line.len && below)
            continue;
        if (ini->name.len == line.len)
            return fail(error, ERR_FORMAT, 0, "%s:%d: there is no '=' in the line", ini->path,
                        ini->line);
        ini->value = span_trim(ini->value);
        ini->parent = below ? ini->group : SPAN("");
        if (!below)
            ini->group = ini->value.len == 0 ? ini->name : SPAN("");
        *more = true;
        return OK;
    }
    *more = false;
    return OK;
}
