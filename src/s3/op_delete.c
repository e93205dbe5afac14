// DeleteObject, and DeleteObjects (up to 1000 keys in one request, each with its own outcome).
#include "s3/s3_server.h"

#include "base/check.h"
#include "base/text.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void on_deleted(struct s3_request *r, struct commit_op *op)
{
    struct s3_reply reply = {.count = 0};
    if (op->err != OK)
        s3_send_failure(r, op->err, op->no_bucket, &op->error);
    else
        s3_send(r, 204, &reply, SPAN(""));
}

void op_delete(struct s3_request *r)
{
    struct commit_op *op = commit_op_new(COMMIT_DELETE, span_from(r->bucket), r->key);
    if (s3_write_conditions(r, op))
        s3_submit(r, op, on_deleted);
    else
        commit_op_free(op);
}

// --- many ---

struct delete_many {
    struct s3_request *r; // NULL: the client has gone
    bool quiet;
    size_t left; // changes not yet durable
    bool no_bucket;
    struct buf xml;
};

static void many_free(struct delete_many *m)
{
    buf_release(&m->xml);
    free(m);
}

static void many_finish(struct delete_many *m)
{
    struct s3_request *r = m->r;
    if (r != NULL) {
        r->many = NULL;
        buf_add_text(&m->xml, "</DeleteResult>");
        if (m->no_bucket)
            s3_send_error(r, S3_NO_SUCH_BUCKET, NULL);
        else
            s3_send_xml(r, 200, &m->xml);
    }
    many_free(m);
}

static void add_outcome(struct delete_many *m, struct span key, enum s3_code code)
{
    if (code == S3_OK && m->quiet)
        return;
    buf_add_text(&m->xml, code == S3_OK ? "<Deleted><Key>" : "<Error><Key>");
    xml_escape(key, &m->xml);
    buf_add_text(&m->xml, "</Key>");
    if (code != S3_OK) {
        buf_printf(&m->xml, "<Code>%s</Code><Message>", s3_code_name(code));
        xml_escape(span_from(s3_code_text(code)), &m->xml);
        buf_add_text(&m->xml, "</Message>");
    }
    buf_add_text(&m->xml, code == S3_OK ? "</Deleted>" : "</Error>");
}

static void on_one_deleted(struct commit_op *op)
{
    struct delete_many *m = op->ctx;
    m->no_bucket = m->no_bucket || op->no_bucket;
    add_outcome(m, buf_view(&op->key),
                op->err == OK         ? S3_OK
                : op->err == ERR_FULL ? S3_INSUFFICIENT_STORAGE
                                      : S3_INTERNAL_ERROR);
    commit_op_free(op);
    if (--m->left == 0)
        many_finish(m);
}

void op_delete_many_release(struct s3_request *r)
{
    if (r->many != NULL)
        r->many->r = NULL; // ends with its last change
    r->many = NULL;
}

static bool is_element(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

// Text of <Object>'s child <Key>; the caller frees it with xmlFree. NULL: none, or a version is
// named.
static xmlChar *key_of(const xmlNode *object)
{
    xmlChar *key = NULL;
    for (xmlNode *n = object->children; n != NULL; n = n->next) {
        if (is_element(n, "Key") && key == NULL)
            key = xmlNodeGetContent(n);
        else if (n->type == XML_ELEMENT_NODE) {
            xmlChar *text = xmlNodeGetContent(n);
            bool harmless = is_element(n, "VersionId") && text != NULL &&
                            strcmp((const char *)text, "null") == 0;
            xmlFree(text);
            if (!harmless) { // conditions and versions must not be passed over
                xmlFree(key);
                return NULL;
            }
        }
    }
    return key;
}

// The document's root <Delete>, without a document type; NULL if it is not that. *doc is to be
// freed.
static xmlNode *document_read(struct span body, xmlDoc **doc)
{
    *doc = xmlReadMemory(body.data, (int)body.len, NULL, NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                             XML_PARSE_NOBLANKS);
    if (*doc == NULL || (*doc)->intSubset != NULL || (*doc)->extSubset != NULL)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(*doc);
    return root != NULL && is_element(root, "Delete") ? root : NULL;
}

// Makes a change for each <Object>; what cannot be is an outcome at once. False: not well-formed.
static bool changes_make(struct s3_request *r, struct delete_many *m, const xmlNode *root,
                         struct commit_op **ops, size_t *count)
{
    size_t objects = 0;
    for (xmlNode *n = root->children; n != NULL; n = n->next) {
        if (is_element(n, "Quiet")) {
            xmlChar *text = xmlNodeGetContent(n);
            m->quiet = text != NULL && strcasecmp((const char *)text, "true") == 0;
            xmlFree(text);
        }
        if (!is_element(n, "Object"))
            continue;
        xmlChar *text = key_of(n);
        struct span key = span_from((const char *)text);
        bool good = ++objects <= S3_LIST_MAX && key.len > 0;
        if (good && key.len > S3_KEY_BYTES_MAX)
            add_outcome(m, key, S3_KEY_TOO_LONG);
        else if (good)
            ops[(*count)++] = commit_op_new(COMMIT_DELETE, span_from(r->bucket), key);
        xmlFree(text);
        if (!good)
            return false;
    }
    return objects > 0;
}

// The body must be vouched for: by Content-MD5, a checksum header or the signed SHA-256 (checked
// before).
static bool body_vouched(struct s3_request *r)
{
    uint8_t real[MD5_BYTES], claimed[CHECKSUM_BYTES_MAX], sum[CHECKSUM_BYTES_MAX];
    AUTO_BUF struct buf md5 = {0};
    struct span given = s3_header(r, "Content-MD5");
    if (given.len > 0) {
        digest_md5(r->http->body, real);
        if (given.len > 64 || !base64_decode(given, &md5) || md5.len != MD5_BYTES) {
            s3_send_error(r, S3_INVALID_DIGEST, NULL);
            return false;
        }
        if (memcmp(md5.data, real, MD5_BYTES) != 0) {
            s3_send_error(r, S3_BAD_DIGEST, NULL);
            return false;
        }
    }
    for (size_t i = 0; i < r->http->header_count; i++) {
        enum checksum_kind kind = checksum_kind_from_header(r->http->headers[i].name);
        if (kind == CHECKSUM_NONE)
            continue;
        struct checksum *c = checksum_new(kind);
        checksum_update(c, r->http->body);
        checksum_finish(c, sum);
        checksum_free(c);
        if (!checksum_decode(kind, span_trim(r->http->headers[i].value), claimed) ||
            memcmp(claimed, sum, sizeof sum) != 0) {
            s3_send_error(r, S3_BAD_DIGEST, NULL);
            return false;
        }
    }
    return true;
}

void op_delete_many(struct s3_request *r)
{
    struct commit_op *ops[S3_LIST_MAX];
    size_t count = 0;
    xmlDoc *doc;
    if (!body_vouched(r))
        return;
    struct delete_many *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    buf_add_text(&m->xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeleteResult "
                          "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    xmlNode *root = document_read(r->http->body, &doc);
    bool good = root != NULL && changes_make(r, m, root, ops, &count);
    xmlFreeDoc(doc);
    if (!good) {
        for (size_t i = 0; i < count; i++)
            commit_op_free(ops[i]);
        many_free(m);
        s3_send_error(r, S3_MALFORMED_XML,
                      "The body must be <Delete> with 1 to 1000 <Object><Key>…</Key></Object>; "
                      "versions and conditions are not served.");
        return;
    }
    m->r = r;
    m->left = count;
    r->many = m;
    if (count == 0)
        many_finish(m);
    for (size_t i = 0; i < count; i++) {
        ops[i]->done = on_one_deleted;
        ops[i]->ctx = m;
        store_submit(r->server->store, ops[i]);
    }
}
