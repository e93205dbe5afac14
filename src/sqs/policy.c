#include "sqs/policy.h"

#include "base/text.h"
#include "sqs/sqs_request.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <string.h>

// --- texts with * and ? ---

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

// Linear but for the last '*', which is tried again at each place.
static bool glob(const char *pattern, const char *text, bool nocase)
{
    const char *star = NULL, *again = NULL;
    while (*text != '\0') {
        bool same = nocase ? lower(*pattern) == lower(*text) : *pattern == *text;
        if (*pattern == '*') {
            star = pattern++;
            again = text;
        } else if (*pattern == '?' || (same && *pattern != '\0')) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

// A value that may be one or a list of them: the i-th, NULL behind the last.
static const json_t *item_at(const json_t *value, size_t i)
{
    if (json_is_array(value))
        return json_array_get(value, i);
    return i == 0 ? value : NULL;
}

static size_t item_count(const json_t *value)
{
    return json_is_array(value) ? json_array_size(value) : value != NULL;
}

// --- conditions: what is asked of which operator ---

enum test { TEST_EQUAL, TEST_EQUAL_NOCASE, TEST_LIKE, TEST_BOOL, TEST_ADDRESS, TEST_NULL };

static const struct operator_spec {
    const char *name;
    enum test test;
    bool negated;
} operators[] = {
    {"StringEquals", TEST_EQUAL, false},
    {"StringNotEquals", TEST_EQUAL, true},
    {"StringEqualsIgnoreCase", TEST_EQUAL_NOCASE, false},
    {"StringNotEqualsIgnoreCase", TEST_EQUAL_NOCASE, true},
    {"StringLike", TEST_LIKE, false},
    {"StringNotLike", TEST_LIKE, true},
    {"ArnEquals", TEST_LIKE, false},
    {"ArnNotEquals", TEST_LIKE, true},
    {"ArnLike", TEST_LIKE, false},
    {"ArnNotLike", TEST_LIKE, true},
    {"Bool", TEST_BOOL, false},
    {"IpAddress", TEST_ADDRESS, false},
    {"NotIpAddress", TEST_ADDRESS, true},
    {"Null", TEST_NULL, false},
};

static const struct operator_spec *operator_find(const char *name, bool *if_exists)
{
    static const char suffix[] = "IfExists";
    size_t len = strlen(name), suffix_len = sizeof suffix - 1;
    *if_exists = len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
    if (*if_exists)
        len -= suffix_len;
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (span_is((struct span){name, len}, operators[i].name))
            return &operators[i];
    return NULL;
}

// An address as 16 bytes; those of IPv4 in their mapped form.
static bool address_parse(const char *text, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, text, out + 12) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

// "192.0.2.0/24", or one address.
static bool network_parse(const char *text, uint8_t out[16], unsigned *bits)
{
    char address[64];
    uint64_t given = 128;
    struct span rest, head = span_cut(span_from(text), '/', &rest);
    if (head.len >= sizeof address)
        return false;
    memcpy(address, head.data, head.len);
    address[head.len] = '\0';
    if (!address_parse(address, out))
        return false;
    bool v4 = strchr(address, ':') == NULL;
    if (head.len < strlen(text) && !span_to_u64(rest, v4 ? 32 : 128, &given))
        return false;
    *bits = (unsigned)given + (v4 && head.len < strlen(text) ? 96 : 0);
    return true;
}

static bool address_in(const char *peer, const char *network)
{
    uint8_t address[16], prefix[16];
    unsigned bits;
    if (!address_parse(peer, address) || !network_parse(network, prefix, &bits))
        return false;
    for (unsigned i = 0; i < bits; i++)
        if (((address[i / 8] ^ prefix[i / 8]) >> (7 - i % 8) & 1) != 0)
            return false;
    return true;
}

// What leaves no machine needs no TLS; smelt itself speaks plain HTTP.
static bool is_loopback(const char *peer)
{
    return address_in(peer, "127.0.0.0/8") || address_in(peer, "::1");
}

void policy_principal_arn(const struct policy_request *r, struct buf *out)
{
    buf_printf(out, "arn:aws:iam::%s:%s%s", r->account, r->user[0] != '\0' ? "user/" : "root",
               r->user);
}

// The value that a request has for a key; false: none.
static bool key_value(const struct policy_request *r, const char *key, struct buf *out)
{
    struct span name = span_from(key);
    if (span_is_nocase(name, "aws:PrincipalAccount"))
        buf_add_text(out, r->account);
    else if (span_is_nocase(name, "aws:PrincipalArn"))
        policy_principal_arn(r, out);
    else if (span_is_nocase(name, "aws:username") && r->user[0] != '\0')
        buf_add_text(out, r->user);
    else if (span_is_nocase(name, "aws:SourceIp"))
        buf_add_text(out, r->peer);
    else if (span_is_nocase(name, "aws:SecureTransport"))
        buf_add_text(out, is_loopback(r->peer) ? "true" : "false");
    else
        return false;
    return true;
}

static bool value_is(enum test test, const json_t *wanted, const char *value)
{
    const char *text = json_is_true(wanted)    ? "true"
                       : json_is_false(wanted) ? "false"
                                               : json_string_value(wanted);
    if (text == NULL)
        return false;
    switch (test) {
    case TEST_EQUAL:
        return strcmp(text, value) == 0;
    case TEST_EQUAL_NOCASE:
    case TEST_BOOL:
        return span_is_nocase(span_from(text), value);
    case TEST_LIKE:
        return glob(text, value, false);
    case TEST_ADDRESS:
        return address_in(value, text);
    case TEST_NULL:
        break;
    }
    return false;
}

static bool condition_holds(const char *operator_name, const char *key, const json_t *wanted,
                            const struct policy_request *r)
{
    bool if_exists, any = false;
    AUTO_BUF struct buf value = {0};
    const struct operator_spec *spec = operator_find(operator_name, &if_exists);
    bool there = key_value(r, key, &value);
    if (spec == NULL) // cannot be: it was checked
        return false;
    if (spec->test == TEST_NULL)
        return value_is(TEST_BOOL, item_at(wanted, 0), there ? "false" : "true");
    if (!there)
        return spec->negated || if_exists;
    for (size_t i = 0; i < item_count(wanted); i++)
        any = any || value_is(spec->test, item_at(wanted, i), value.data);
    return any != spec->negated;
}

static bool conditions_hold(json_t *conditions, const struct policy_request *r)
{
    const char *operator_name, *key;
    json_t *keys, *wanted;
    json_object_foreach(conditions, operator_name, keys)
    {
        json_object_foreach(keys, key, wanted)
        {
            if (!condition_holds(operator_name, key, wanted, r))
                return false;
        }
    }
    return true;
}

// --- who, what, on what ---

// Identities of this server: of an account its root and its users.
static bool principal_is(const char *text, const struct policy_request *r)
{
    AUTO_BUF struct buf own = {0}, root = {0};
    if (strcmp(text, "*") == 0 || strcmp(text, r->account) == 0)
        return true;
    policy_principal_arn(r, &own);
    buf_printf(&root, "arn:aws:iam::%s:root", r->account); // stands for all of the account
    return strcmp(text, own.data) == 0 || strcmp(text, root.data) == 0;
}

static bool principal_matches(const json_t *principal, const struct policy_request *r)
{
    if (json_is_string(principal))
        return true;                                        // "*"
    const json_t *list = json_object_get(principal, "AWS"); // services are nobody here
    for (size_t i = 0; i < item_count(list); i++)
        if (principal_is(json_string_value(item_at(list, i)), r))
            return true;
    return false;
}

static const char *without_service(const char *action)
{
    const char *colon = strchr(action, ':');
    return colon != NULL ? colon + 1 : action;
}

static bool action_matches(const json_t *list, const char *action)
{
    for (size_t i = 0; i < item_count(list); i++)
        if (glob(without_service(json_string_value(item_at(list, i))), action, true))
            return true;
    return false;
}

static bool resource_matches(const json_t *list, const char *resource)
{
    for (size_t i = 0; i < item_count(list); i++)
        if (glob(json_string_value(item_at(list, i)), resource, false))
            return true;
    return false;
}

static bool statement_applies(const json_t *s, const struct policy_request *r)
{
    const json_t *principal = json_object_get(s, "Principal");
    const json_t *action = json_object_get(s, "Action"), *resource = json_object_get(s, "Resource");
    bool who = principal != NULL ? principal_matches(principal, r)
                                 : !principal_matches(json_object_get(s, "NotPrincipal"), r);
    bool what = action != NULL ? action_matches(action, r->action)
                               : !action_matches(json_object_get(s, "NotAction"), r->action);
    bool on = resource != NULL ? resource_matches(resource, r->resource)
                               : !resource_matches(json_object_get(s, "NotResource"), r->resource);
    return who && what && on && conditions_hold(json_object_get(s, "Condition"), r);
}

enum policy_verdict policy_decide(const struct json_t *policy, const struct policy_request *request)
{
    enum policy_verdict verdict = POLICY_SILENT;
    const json_t *statements = json_object_get(policy, "Statement");
    for (size_t i = 0; i < item_count(statements); i++) {
        const json_t *s = item_at(statements, i);
        if (!statement_applies(s, request))
            continue;
        if (strcmp(json_string_value(json_object_get(s, "Effect")), "Deny") == 0)
            return POLICY_DENIES;
        verdict = POLICY_ALLOWS;
    }
    return verdict;
}

// --- checks ---

struct checker {
    struct fault *f;
    size_t statement; // from 1; 0: the policy itself
    size_t principals, conditions;
};

static enum sqs_code wrong(struct checker *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static enum sqs_code wrong(struct checker *c, const char *fmt, ...)
{
    char reason[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    if (c->statement == 0)
        return fault(c->f, SQS_INVALID_ATTRIBUTE_VALUE,
                     "Invalid value for the parameter Policy. Reason: %s", reason);
    return fault(c->f, SQS_INVALID_ATTRIBUTE_VALUE,
                 "Invalid value for the parameter Policy. Reason: Statement %zu: %s", c->statement,
                 reason);
}

// A string, or a list of at least one of them, without control characters.
static enum sqs_code check_strings(struct checker *c, const char *name, const json_t *value)
{
    bool good = item_count(value) > 0;
    for (size_t i = 0; good && i < item_count(value); i++)
        good = json_is_string(item_at(value, i)) && json_string_length(item_at(value, i)) > 0;
    return good ? SQS_OK : wrong(c, "%s must be a string or a list of strings.", name);
}

static bool is_account(struct span s)
{
    uint64_t number;
    return s.len == 12 && span_to_u64(s, 999999999999u, &number);
}

static enum sqs_code check_principal(struct checker *c, const char *name, json_t *principal)
{
    const char *kind;
    json_t *list;
    if (json_is_string(principal) && strcmp(json_string_value(principal), "*") == 0) {
        c->principals++;
        return SQS_OK;
    }
    if (!json_is_object(principal) || json_object_size(principal) == 0)
        return wrong(c, "%s must be \"*\" or an object such as {\"AWS\":\"111122223333\"}.", name);
    json_object_foreach(principal, kind, list)
    {
        if (strcmp(kind, "AWS") != 0 && strcmp(kind, "Service") != 0 &&
            strcmp(kind, "Federated") != 0 && strcmp(kind, "CanonicalUser") != 0)
            return wrong(c, "%s knows AWS, Service, Federated and CanonicalUser, not '%.40s'.",
                         name, kind);
        if (check_strings(c, name, list) != SQS_OK)
            return c->f->code;
        c->principals += item_count(list);
        for (size_t i = 0; strcmp(kind, "AWS") == 0 && i < item_count(list); i++) {
            const char *text = json_string_value(item_at(list, i));
            if (strcmp(text, "*") != 0 && !is_account(span_from(text)) &&
                strncmp(text, "arn:aws", 7) != 0)
                return wrong(c, "the principal '%.80s' is no account, ARN or *.", text);
        }
    }
    return SQS_OK;
}

static enum sqs_code check_actions(struct checker *c, const char *name, const json_t *list)
{
    if (check_strings(c, name, list) != SQS_OK)
        return c->f->code;
    for (size_t i = 0; i < item_count(list); i++) {
        const char *text = json_string_value(item_at(list, i));
        bool known = false;
        if (strcmp(text, "*") != 0 && !glob("sqs:*", text, true))
            return wrong(c, "the action '%.60s' is not one of SQS: write sqs:SendMessage or sqs:*.",
                         text);
        for (int a = ACTION_NONE + 1; !known && a < ACTION_COUNT; a++)
            known = glob(without_service(text), action_name((enum sqs_action)a), true);
        if (!known)
            return wrong(c, "no action is called '%.60s'.", text);
    }
    return SQS_OK;
}

static enum sqs_code check_resources(struct checker *c, const char *name, const json_t *list)
{
    if (check_strings(c, name, list) != SQS_OK)
        return c->f->code;
    for (size_t i = 0; i < item_count(list); i++) {
        const char *text = json_string_value(item_at(list, i));
        if (strcmp(text, "*") != 0 && strncmp(text, "arn:", 4) != 0)
            return wrong(c, "the resource '%.80s' is no ARN.", text);
    }
    return SQS_OK;
}

static enum sqs_code check_condition(struct checker *c, const char *operator_name, const char *key,
                                     const json_t *list)
{
    bool if_exists;
    uint8_t network[16];
    unsigned bits;
    const struct operator_spec *spec = operator_find(operator_name, &if_exists);
    if (spec == NULL)
        return wrong(c,
                     "the condition '%.60s' is not supported: only String…, Arn…, Bool, Null, "
                     "IpAddress and NotIpAddress are.",
                     operator_name);
    c->conditions++;
    bool good = item_count(list) > 0;
    for (size_t i = 0; good && i < item_count(list); i++) {
        const json_t *value = item_at(list, i);
        good = json_is_string(value) || json_is_boolean(value);
        if (good && spec->test == TEST_ADDRESS)
            good = json_is_string(value) && network_parse(json_string_value(value), network, &bits);
    }
    return good ? SQS_OK
                : wrong(c, "the condition %s of '%.60s' has a value that cannot be.", operator_name,
                        key);
}

static enum sqs_code check_conditions(struct checker *c, json_t *conditions)
{
    const char *operator_name, *key;
    json_t *keys, *list;
    if (!json_is_object(conditions))
        return wrong(c, "Condition must be an object.");
    json_object_foreach(conditions, operator_name, keys)
    {
        if (!json_is_object(keys) || json_object_size(keys) == 0)
            return wrong(c, "the condition '%.60s' must be an object.", operator_name);
        json_object_foreach(keys, key, list)
        {
            if (check_condition(c, operator_name, key, list) != SQS_OK)
                return c->f->code;
        }
    }
    return SQS_OK;
}

static enum sqs_code check_member(struct checker *c, const char *name, json_t *value)
{
    if (strcmp(name, "Sid") == 0)
        return json_is_string(value) ? SQS_OK : wrong(c, "Sid must be a string.");
    if (strcmp(name, "Effect") == 0) {
        const char *effect = json_string_value(value);
        bool good = effect != NULL && (strcmp(effect, "Allow") == 0 || strcmp(effect, "Deny") == 0);
        return good ? SQS_OK : wrong(c, "Effect must be Allow or Deny.");
    }
    if (strcmp(name, "Principal") == 0 || strcmp(name, "NotPrincipal") == 0)
        return check_principal(c, name, value);
    if (strcmp(name, "Action") == 0 || strcmp(name, "NotAction") == 0)
        return check_actions(c, name, value);
    if (strcmp(name, "Resource") == 0 || strcmp(name, "NotResource") == 0)
        return check_resources(c, name, value);
    if (strcmp(name, "Condition") == 0)
        return check_conditions(c, value);
    return wrong(c, "unknown member '%.60s'.", name);
}

static enum sqs_code check_statement(struct checker *c, json_t *s)
{
    static const char *const one_of[][2] = {
        {"Principal", "NotPrincipal"}, {"Action", "NotAction"}, {"Resource", "NotResource"}};
    const char *name;
    json_t *value;
    if (!json_is_object(s))
        return wrong(c, "it must be an object.");
    json_object_foreach(s, name, value)
    {
        if (check_member(c, name, value) != SQS_OK)
            return c->f->code;
    }
    if (json_object_get(s, "Effect") == NULL)
        return wrong(c, "Effect is missing.");
    for (size_t i = 0; i < 3; i++)
        if ((json_object_get(s, one_of[i][0]) != NULL) ==
            (json_object_get(s, one_of[i][1]) != NULL))
            return wrong(c, "it must have %s or %s, one of them.", one_of[i][0], one_of[i][1]);
    return SQS_OK;
}

static enum sqs_code check_head(struct checker *c, json_t *root)
{
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        const char *text = json_string_value(value);
        if (strcmp(name, "Version") == 0) {
            if (text == NULL ||
                (strcmp(text, "2008-10-17") != 0 && strcmp(text, "2012-10-17") != 0))
                return wrong(c, "Version must be 2012-10-17 or 2008-10-17.");
        } else if (strcmp(name, "Id") == 0) {
            if (text == NULL)
                return wrong(c, "Id must be a string.");
        } else if (strcmp(name, "Statement") != 0) {
            return wrong(c, "unknown member '%.60s'.", name);
        }
    }
    return SQS_OK;
}

static enum sqs_code check_policy(struct checker *c, json_t *root)
{
    if (check_head(c, root) != SQS_OK)
        return c->f->code;
    const json_t *statements = json_object_get(root, "Statement");
    size_t count = item_count(statements);
    if (count == 0)
        return wrong(c, "Statement is missing or empty.");
    if (count > POLICY_STATEMENTS_MAX)
        return wrong(c, "it has %zu statements, the limit is %d.", count, POLICY_STATEMENTS_MAX);
    for (size_t i = 0; i < count; i++) {
        c->statement = i + 1;
        json_t *s = json_is_array(statements) ? json_array_get(statements, i)
                                              : json_object_get(root, "Statement");
        if (check_statement(c, s) != SQS_OK)
            return c->f->code;
    }
    c->statement = 0;
    if (c->principals > POLICY_PRINCIPALS_MAX)
        return wrong(c, "it has %zu principals, the limit is %d.", c->principals,
                     POLICY_PRINCIPALS_MAX);
    if (c->conditions > POLICY_CONDITIONS_MAX)
        return wrong(c, "it has %zu conditions, the limit is %d.", c->conditions,
                     POLICY_CONDITIONS_MAX);
    return SQS_OK;
}

enum sqs_code policy_parse(struct span text, struct json_t **out, struct fault *f)
{
    json_error_t why;
    struct checker c = {.f = f};
    json_t *root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    enum sqs_code code = SQS_OK;
    if (root == NULL)
        code = wrong(&c, "it is not JSON: line %d: %.100s", why.line, why.text);
    else if (!json_is_object(root))
        code = wrong(&c, "it must be a JSON object.");
    else
        code = check_policy(&c, root);
    if (code == SQS_OK && out != NULL)
        *out = json_incref(root);
    json_decref(root);
    return code;
}
