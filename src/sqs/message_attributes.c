#include "sqs/message_attributes.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

// --- checks ---

static int shown(struct span s)
{
    return (int)(s.len < 256 ? s.len : 256);
}

static bool name_characters(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && c != '_' && c != '-' && c != '.')
            return false;
        if (c == '.' && (i == 0 || i + 1 == name.len || name.data[i - 1] == '.'))
            return false;
    }
    return true;
}

static enum sqs_code check_name(struct span name, struct fault *f)
{
    if (name.len == 0)
        return fault(f, SQS_INVALID_PARAMETER,
                     "The request must contain non-empty message (user) attribute names.");
    if (name.len > 256)
        return fault(f, SQS_INVALID_PARAMETER,
                     "Message (user) attribute name must be shorter than 256 bytes.");
    if (!name_characters(name) || span_starts_nocase(name, "AWS.") ||
        span_starts_nocase(name, "Amazon."))
        return fault(
            f, SQS_INVALID_PARAMETER,
            "Invalid message (user) attribute name '%.*s'. Reason: names have letters, digits, "
            "underscores, hyphens and periods, no period at an end or after another, and do not "
            "begin with AWS. or Amazon.",
            shown(name), name.data);
    return SQS_OK;
}

// Decimal digits with at most one point: *digits counts those from the first to the last that is
// not zero, *magnitude is the power of ten of the first. Returns how many characters it took; 0: it
// is no number.
static size_t scan_mantissa(struct span s, int *digits, int *magnitude)
{
    size_t i = 0, seen = 0;
    int point = -1, first = -1, last = -1, n = 0; // places among the digits
    for (; i < s.len && n < 1000; i++) {
        if (s.data[i] == '.' && point < 0) {
            point = n;
            continue;
        }
        if (s.data[i] < '0' || s.data[i] > '9')
            break;
        seen++;
        if (s.data[i] != '0') {
            first = first < 0 ? n : first;
            last = n;
        }
        n++;
    }
    *digits = first < 0 ? 0 : last - first + 1;
    *magnitude = (point < 0 ? n : point) - 1 - first;
    return seen > 0 ? i : 0;
}

// Up to 38 significant digits, zero, or between 10^-128 and 10^126.
static bool is_number(struct span s)
{
    int digits, magnitude;
    uint64_t exponent = 0;
    if (s.len > 0 && (s.data[0] == '-' || s.data[0] == '+'))
        s = (struct span){s.data + 1, s.len - 1};
    size_t mantissa = scan_mantissa(s, &digits, &magnitude);
    if (mantissa == 0 || digits > 38)
        return false;
    struct span rest = {s.data + mantissa, s.len - mantissa};
    if (rest.len > 0) {
        if (rest.data[0] != 'e' && rest.data[0] != 'E')
            return false;
        rest = (struct span){rest.data + 1, rest.len - 1};
        bool minus = rest.len > 0 && rest.data[0] == '-';
        if (minus || (rest.len > 0 && rest.data[0] == '+'))
            rest = (struct span){rest.data + 1, rest.len - 1};
        if (!span_to_u64(rest, 9999, &exponent))
            return false;
        magnitude += minus ? -(int)exponent : (int)exponent;
    }
    bool power_of_ten = digits == 1 && memchr(s.data, '1', mantissa) != NULL;
    return digits == 0 || (magnitude >= -128 && magnitude < 126) ||
           (magnitude == 126 && power_of_ten);
}

static bool type_is(struct span type, const char *base)
{
    size_t len = strlen(base);
    return span_starts(type, base) && (type.len == len || type.data[len] == '.');
}

static enum sqs_code check_value(const struct attribute_in *a, struct fault *f)
{
    int n = shown(a->name);
    bool binary = type_is(a->type, "Binary"), numeric = type_is(a->type, "Number");
    const char *base = binary ? "Binary" : numeric ? "Number" : "String";
    if (a->listed)
        return fault(
            f, SQS_UNSUPPORTED,
            "Message (user) attribute '%.*s' is a list: StringListValues and BinaryListValues "
            "are reserved and not implemented.",
            n, a->name.data);
    if (!binary && !numeric && !type_is(a->type, "String"))
        return fault(
            f, SQS_INVALID_PARAMETER,
            "The type of message (user) attribute '%.*s' is invalid. You must use only the "
            "following supported type prefixes: Binary, Number, String.",
            n, a->name.data);
    if (a->type.len > 256)
        return fault(f, SQS_INVALID_PARAMETER,
                     "The type of message (user) attribute '%.*s' is longer than 256 bytes.", n,
                     a->name.data);
    struct span value = binary ? a->binary : a->text;
    if (value.len == 0)
        return fault(f, SQS_INVALID_PARAMETER,
                     "Message (user) attribute '%.*s' must contain a non-empty value of type '%s'.",
                     n, a->name.data, base);
    if (binary ? a->text.data != NULL : a->binary.data != NULL)
        return fault(f, SQS_INVALID_PARAMETER,
                     "Message (user) attribute '%.*s' has multiple values.", n, a->name.data);
    if (numeric && !is_number(value))
        return fault(f, SQS_INVALID_PARAMETER,
                     "Can't cast the value of message (user) attribute '%.*s' to a number.", n,
                     a->name.data);
    if (!utf8_xml_valid(a->type) || (!binary && !utf8_xml_valid(value)))
        return fault(
            f, SQS_INVALID_PARAMETER,
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to "
            "#xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.");
    return SQS_OK;
}

static enum sqs_code check_system(const struct attribute_in *a, struct fault *f)
{
    if (!span_is(a->name, "AWSTraceHeader"))
        return fault(
            f, SQS_INVALID_PARAMETER,
            "Message system attribute name '%.*s' is invalid: only AWSTraceHeader can be sent.",
            shown(a->name), a->name.len > 0 ? a->name.data : "");
    if (!span_is(a->type, "String") || a->text.len == 0 || a->text.len > MESSAGE_TRACE_BYTES_MAX ||
        !utf8_xml_valid(a->text))
        return fault(
            f, SQS_INVALID_PARAMETER,
            "Message system attribute 'AWSTraceHeader' must contain a non-empty value of type "
            "'String'.");
    return SQS_OK;
}

// --- stored form: for each, name and type with uint16_t lengths, a flag, the value with a uint32_t
// length ---

static int by_name(const void *a, const void *b)
{
    const struct attribute_in *x = a, *y = b;
    return span_order(x->name, y->name);
}

enum sqs_code message_attributes_encode(const struct attribute_list *list, bool system,
                                        struct arena *arena, struct buf *out, uint16_t *count,
                                        size_t *bytes, struct fault *f)
{
    *count = 0;
    *bytes = 0;
    if (list->count == 0)
        return SQS_OK;
    if (list->count > MESSAGE_ATTRIBUTES_MAX)
        return fault(f, SQS_INVALID_PARAMETER,
                     "Number of message attributes [%zu] exceeds the allowed maximum [%d].",
                     list->count, MESSAGE_ATTRIBUTES_MAX);
    struct attribute_in *sorted = arena_alloc(arena, list->count * sizeof sorted[0]);
    memcpy(sorted, list->items, list->count * sizeof sorted[0]);
    qsort(sorted, list->count, sizeof sorted[0], by_name);
    for (size_t i = 0; i < list->count; i++) {
        const struct attribute_in *a = &sorted[i];
        enum sqs_code code = system ? check_system(a, f) : check_name(a->name, f);
        if (code == SQS_OK && !system)
            code = check_value(a, f);
        if (code != SQS_OK)
            return code;
        if (i > 0 && span_equal(a->name, sorted[i - 1].name))
            return fault(f, SQS_INVALID_PARAMETER,
                         "Message (user) attribute name '%.*s' already exists.", shown(a->name),
                         a->name.data);
        uint8_t binary = type_is(a->type, "Binary");
        struct span value = binary ? a->binary : a->text;
        uint16_t name_bytes = (uint16_t)a->name.len, type_bytes = (uint16_t)a->type.len;
        uint32_t value_bytes = (uint32_t)value.len;
        buf_add(out, &name_bytes, sizeof name_bytes);
        buf_add(out, &type_bytes, sizeof type_bytes);
        buf_add(out, &value_bytes, sizeof value_bytes);
        buf_add(out, &binary, 1);
        buf_add_span(out, a->name);
        buf_add_span(out, a->type);
        buf_add_span(out, value);
        *bytes += a->name.len + a->type.len + value.len;
        ++*count;
    }
    return SQS_OK;
}

bool message_attribute_next(struct span *rest, struct stored_attribute *out)
{
    uint16_t name_bytes, type_bytes;
    uint32_t value_bytes;
    const size_t fixed = sizeof name_bytes + sizeof type_bytes + sizeof value_bytes + 1;
    if (rest->len < fixed)
        return false;
    const char *p = rest->data;
    memcpy(&name_bytes, p, sizeof name_bytes);
    memcpy(&type_bytes, p + 2, sizeof type_bytes);
    memcpy(&value_bytes, p + 4, sizeof value_bytes);
    size_t total = fixed + name_bytes + type_bytes + value_bytes;
    if (rest->len < total)
        return false;
    out->binary = p[8] != 0;
    p += fixed;
    out->name = (struct span){p, name_bytes};
    out->type = (struct span){p + name_bytes, type_bytes};
    out->value = (struct span){p + name_bytes + type_bytes, value_bytes};
    *rest = (struct span){rest->data + total, rest->len - total};
    return true;
}

// --- MD5 ---

static void add_counted(struct buf *out, struct span s)
{
    uint8_t be[4] = {(uint8_t)(s.len >> 24), (uint8_t)(s.len >> 16), (uint8_t)(s.len >> 8),
                     (uint8_t)s.len};
    buf_add(out, be, sizeof be);
    buf_add_span(out, s);
}

void attributes_md5_add(struct attributes_md5 *m, const struct stored_attribute *a)
{
    add_counted(&m->bytes, a->name);
    add_counted(&m->bytes, a->type);
    buf_add_char(&m->bytes, a->binary ? 2 : 1);
    add_counted(&m->bytes, a->value);
}

bool attributes_md5_finish(struct attributes_md5 *m, char out[2 * MD5_BYTES + 1])
{
    uint8_t md5[MD5_BYTES];
    bool any = m->bytes.len > 0;
    if (any) {
        digest_md5(buf_view(&m->bytes), md5);
        hex_encode(md5, sizeof md5, out);
    }
    buf_release(&m->bytes);
    return any;
}

// --- filter ---

bool message_attribute_wanted(const struct text_list *names, struct span name)
{
    for (size_t i = 0; i < names->count; i++) {
        struct span n = names->items[i].text;
        if (span_is(n, "All") || span_is(n, ".*") || span_is(n, "*") || span_equal(n, name))
            return true;
        if (n.len > 2 && n.data[n.len - 2] == '.' && n.data[n.len - 1] == '*' &&
            name.len >= n.len - 2 && memcmp(n.data, name.data, n.len - 2) == 0)
            return true;
    }
    return false;
}
