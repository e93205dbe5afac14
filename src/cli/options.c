#include "cli/options.h"

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "http/server.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int find(const struct options *o, const char *name, size_t len)
{
    for (int i = 0; o->table[i].name != NULL; i++)
        if (strlen(o->table[i].name) == len && strncmp(o->table[i].name, name, len) == 0)
            return i;
    return -1;
}

static void set(struct options *o, int i, const char *value, const char *source)
{
    o->values[i] = value;
    o->sources[i] = source;
}

static void environment_name(const char *name, char *out, size_t out_size)
{
    size_t n = (size_t)snprintf(out, out_size, "SMELT_%s", name);
    for (size_t i = 0; i < n && i < out_size; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

enum { HELP_COLUMN = 31, HELP_WIDTH = 100 };

static int columns_of(const char *text, size_t len) // of UTF-8
{
    int columns = 0;
    for (size_t i = 0; i < len; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

// "  --name VALUE" and its text in a column beside it, broken between words.
static void print_help_line(const char *left, const char *text)
{
    int column = printf("  %s", left);
    column = 2 + columns_of(left, strlen(left));
    if (column >= HELP_COLUMN)
        column = printf("\n") - 1;
    printf("%*s", HELP_COLUMN - column, "");
    column = HELP_COLUMN;
    for (const char *word = text; *word != '\0';) {
        size_t len = strcspn(word, " \n");
        int width = columns_of(word, len);
        if (column > HELP_COLUMN && column + 1 + width > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        column += width + printf("%s", column > HELP_COLUMN ? " " : "");
        printf("%.*s", (int)len, word);
        word += len + strspn(word + len, " \n");
    }
    printf("\n");
}

static void print_help(const struct options *o, const char *usage, const char *about)
{
    printf("usage: %s\n\n%s\n\noptions:\n", usage, about);
    for (const struct option *t = o->table; t->name != NULL; t++) {
        if (t->help == NULL)
            continue;
        char left[64], text[400];
        bool says_default = t->fallback != NULL && t->value != NULL;
        snprintf(left, sizeof left, "--%s%s%s", t->name, t->value != NULL ? " " : "",
                 t->value != NULL ? t->value : "");
        snprintf(text, sizeof text, "%s%s%s%s", t->help, says_default ? " (default " : "",
                 says_default ? t->fallback : "", says_default ? ")" : "");
        print_help_line(left, text);
    }
    print_help_line("--config FILE", "options from an INI file: name = value");
    print_help_line("--help", "this text");
    printf("\nEvery option can also be set by an environment variable: --sqs-listen is "
           "SMELT_SQS_LISTEN.\n");
}

// "smelt queue peek [options] QUEUE" -> the length of "smelt queue peek"
static int command_length(const char *usage)
{
    size_t len = strcspn(usage, "[<ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    while (len > 0 && usage[len - 1] == ' ')
        len--;
    return (int)len;
}

static int usage_error(const struct options *o, const char *usage, const char *name, size_t len)
{
    const char *names[OPTIONS_MAX + 3];
    size_t count = 0;
    for (const struct option *t = o->table; t->name != NULL; t++)
        if (t->help != NULL)
            names[count++] = t->name;
    names[count++] = "help";
    names[count++] = "config";
    names[count] = NULL;
    char given[64];
    snprintf(given, sizeof given, "%.*s", (int)(len < 63 ? len : 63), name);
    const char *near = nearest_name(given, names);
    if (near != NULL)
        fprintf(stderr, "smelt: unknown option --%s; did you mean --%s?\n", given, near);
    else
        fprintf(stderr, "smelt: unknown option --%s; `%.*s --help` lists them\n", given,
                command_length(usage), usage);
    return 2;
}

// "[serve]" is for `smelt serve` alone, "[smelt]" for every command.
static bool is_our_section(struct span line, const char *usage)
{
    struct span rest, name = span_cut((struct span){line.data + 1, line.len - 1}, ']', &rest);
    name = span_trim(name);
    struct span program = span_cut(span_from(usage), ' ', &rest);
    struct span command = span_cut(rest, ' ', &rest);
    return span_equal(name, program) || span_equal(name, command);
}

static int read_config(struct options *o, const char *usage, const char *path)
{
    struct error error;
    if (file_read(path, KIB(256), &o->config, &error) != OK) {
        fprintf(stderr, "smelt: config file: %s\n", error.msg);
        return 2;
    }
    int number = 0;
    bool ours = true;
    for (char *line = o->config.data, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        number++;
        struct span value, name = span_cut(span_from(line), '=', &value);
        bool has_value = strchr(line, '=') != NULL;
        name = span_trim(name);
        if (name.len > 0 && name.data[name.len - 1] == '\r')
            name.len--;
        if (name.len > 0 && name.data[0] == '[')
            ours = is_our_section(name, usage);
        if (!ours || name.len == 0 || name.data[0] == '#' || name.data[0] == ';' ||
            name.data[0] == '[')
            continue;
        int i = find(o, name.data, name.len);
        if (i < 0 || !has_value) {
            fprintf(stderr, "smelt: %s:%d: %s '%.*s'\n", path, number,
                    i < 0 ? "unknown option" : "no '=' after", (int)name.len, name.data);
            return 2;
        }
        value = span_trim(value);
        while (value.len > 0 &&
               (value.data[value.len - 1] == '\r' || value.data[value.len - 1] == ' '))
            value.len--;
        char *text = (char *)(uintptr_t)value.data;
        text[value.len] = '\0';
        set(o, i, text, "config");
    }
    return -1;
}

// The value of --config, or NULL.
static const char *config_path(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            return argv[i + 1];
        if (strncmp(argv[i], "--config=", 9) == 0)
            return argv[i] + 9;
    }
    return getenv("SMELT_CONFIG");
}

// Handles argv[*i], which starts with "--". Returns -1 to go on.
static int read_flag(struct options *o, const char *usage, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    bool is_config = len == 6 && strncmp(name, "config", 6) == 0;
    int k = is_config ? -1 : find(o, name, len);
    if (k < 0 && !is_config)
        return usage_error(o, usage, name, len);
    if (!is_config && o->table[k].value == NULL) {
        set(o, k, equals != NULL ? equals + 1 : "1", "flag");
        return -1;
    }
    const char *value = equals != NULL ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
    if (value == NULL) {
        fprintf(stderr, "smelt: --%.*s needs a value\n", (int)len, name);
        return 2;
    }
    if (!is_config)
        set(o, k, value, "flag");
    return -1;
}

int options_parse(struct options *o, const struct option *table, const char *usage,
                  const char *about, int argc, char **argv)
{
    *o = (struct options){.table = table};
    for (int i = 0; table[i].name != NULL; i++) {
        CHECK(i < OPTIONS_MAX);
        set(o, i, table[i].fallback, "default");
    }
    const char *path = config_path(argc, argv);
    int code = path != NULL ? read_config(o, usage, path) : -1;
    if (code >= 0)
        return code;
    for (int i = 0; table[i].name != NULL; i++) {
        char variable[64];
        environment_name(table[i].name, variable, sizeof variable);
        const char *value = getenv(variable);
        if (value != NULL)
            set(o, i, value, "environment");
    }
    o->arguments = argv; // filled from the front: never ahead of the reading place
    for (int i = 1; i < argc; i++) {
        // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): argv has argc words
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(o, usage, about);
            return 0;
        }
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                o->arguments[o->argument_count++] = argv[i];
        } else if (strncmp(argv[i], "--", 2) == 0) {
            code = read_flag(o, usage, argc, argv, &i);
            if (code >= 0)
                return code;
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            return usage_error(o, usage, argv[i] + 1, strlen(argv[i] + 1));
        } else {
            o->arguments[o->argument_count++] = argv[i];
        }
    }
    return -1;
}

void options_release(struct options *o)
{
    buf_release(&o->config);
}

static int index_of(const struct options *o, const char *name)
{
    int i = find(o, name, strlen(name));
    CHECK(i >= 0);
    return i;
}

const char *options_get(const struct options *o, const char *name)
{
    return o->values[index_of(o, name)];
}

bool options_on(const struct options *o, const char *name)
{
    const char *value = options_get(o, name);
    return value != NULL && (strcmp(value, "1") == 0 || strcmp(value, "true") == 0 ||
                             strcmp(value, "yes") == 0 || strcmp(value, "on") == 0);
}

bool options_given(const struct options *o, const char *name)
{
    return strcmp(o->sources[index_of(o, name)], "default") != 0;
}

bool options_int(const struct options *o, const char *name, long min, long max, long *out)
{
    const char *text = options_get(o, name);
    char *end = NULL;
    errno = 0;
    long value = text != NULL ? strtol(text, &end, 10) : 0;
    if (text == NULL || end == text || *end != '\0' || errno != 0 || value < min || value > max) {
        fprintf(stderr, "smelt: --%s must be a number from %ld to %ld, not '%s'\n", name, min, max,
                text != NULL ? text : "");
        return false;
    }
    *out = value;
    return true;
}

bool options_listen(const struct options *o, const char *name)
{
    struct error error;
    const char *text = options_get(o, name);
    if (text == NULL || http_listen_check(text, &error) == OK)
        return true;
    fprintf(stderr, "smelt: --%s: %s\n", name, error.msg);
    return false;
}

bool options_workers(const struct options *o, int usable, int *min, int *max)
{
    const char *text = options_get(o, "workers");
    uint64_t low = 1, high = (uint64_t)usable;
    struct span rest, first = span_cut(span_from(text), ':', &rest);
    bool good = text == NULL || span_to_u64(first, WORKER_CHILDREN_MAX, &low);
    if (text != NULL && strchr(text, ':') == NULL)
        high = low;
    else if (good && rest.len > 0)
        good = span_to_u64(rest, WORKER_CHILDREN_MAX, &high);
    else if (high < low)
        high = low;
    if (!good || low < 1 || high < low) {
        fprintf(stderr,
                "smelt: --workers takes a number or MIN:MAX, from 1 to %d, not '%.40s'; for "
                "example 1:12\n",
                WORKER_CHILDREN_MAX, text);
        return false;
    }
    *min = (int)low;
    *max = (int)high;
    return true;
}

static bool descriptor(const struct options *o, const char *name, int *out)
{
    long fd = -1;
    if (options_get(o, name) != NULL && !options_int(o, name, 3, 1023, &fd))
        return false;
    *out = (int)fd;
    return true;
}

bool options_no_argument(const struct options *o, const char *command)
{
    if (o->argument_count == 0)
        return true;
    fprintf(stderr, "smelt: %s takes no argument '%s'; `smelt %s --help` shows the options\n",
            command, o->arguments[0], command);
    return false;
}

bool options_start_log(const struct options *o, const char *role)
{
    int level = log_level_parse(options_get(o, "log-level"));
    if (!options_no_argument(o, role))
        return false;
    if (level < 0) {
        fprintf(stderr, "smelt: --log-level must be debug, info, warn or error, not '%s'\n",
                options_get(o, "log-level"));
        return false;
    }
    log_init(role, (enum log_level)level);
    return true;
}

bool options_start_role(const struct options *o, const char *role, int *ready_fd, int *lifeline_fd)
{
    if (!descriptor(o, "ready-fd", ready_fd) || !descriptor(o, "lifeline-fd", lifeline_fd) ||
        !options_start_log(o, role))
        return false;
    if (*ready_fd >= 0)
        fcntl(*ready_fd, F_SETFD, FD_CLOEXEC);
    // memory for a picture is freed and taken again all the time: not from the kernel, page by page
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    return true;
}
