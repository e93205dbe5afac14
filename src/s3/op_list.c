// ListObjectsV2.
#include "s3/s3_server.h"

#include "base/clock.h"
#include "base/text.h"

#include <string.h>

struct list_parameters {
    struct listing_query query;
    bool url_encoding, fetch_owner, has_token;
    struct span token, start_after;
};

struct list_answer {
    const struct list_parameters *p;
    struct buf contents, prefixes;
};

static void add_text(const struct list_parameters *p, struct span text, struct buf *out)
{
    if (p->url_encoding)
        url_encode(text, true, out);
    else
        xml_escape(text, out);
}

static void add_element(const struct list_parameters *p, const char *name, struct span text,
                        struct buf *out)
{
    buf_printf(out, "<%s>", name);
    add_text(p, text, out);
    buf_printf(out, "</%s>", name);
}

// --- the continuation token: base64 of 'k' or 'p' and the last key or common prefix ---

static void token_make(const struct listing_page *page, struct buf *out)
{
    AUTO_BUF struct buf raw = {0};
    buf_add_char(&raw, page->last_is_prefix ? 'p' : 'k');
    buf_add_span(&raw, buf_view(&page->last));
    base64_encode(buf_view(&raw), out);
}

static bool token_read(struct s3_request *r, struct list_parameters *p)
{
    AUTO_BUF struct buf raw = {0};
    if (p->token.len > 2 * S3_KEY_BYTES_MAX || !base64_decode(p->token, &raw) || raw.len < 2 ||
        (raw.data[0] != 'k' && raw.data[0] != 'p'))
        return false;
    p->query.after_is_prefix = raw.data[0] == 'p';
    p->query.after = arena_copy_span(&r->http->arena, (struct span){raw.data + 1, raw.len - 1});
    return true;
}

// --- parameters ---

static struct span query_value(struct s3_request *r, const char *name)
{
    struct span value = {NULL, 0};
    return http_request_query(r->http, name, &value) ? value : (struct span){"", 0};
}

// False: replied.
static bool parameters_read(struct s3_request *r, struct list_parameters *p)
{
    struct span encoding = query_value(r, "encoding-type"), max = query_value(r, "max-keys");
    uint64_t count = S3_LIST_MAX;
    p->query.prefix = query_value(r, "prefix");
    p->query.delimiter = query_value(r, "delimiter");
    p->start_after = query_value(r, "start-after");
    p->has_token = http_request_query(r->http, "continuation-token", &p->token);
    p->fetch_owner = span_is_nocase(query_value(r, "fetch-owner"), "true");
    p->url_encoding = span_is_nocase(encoding, "url");
    const char *fault = NULL;
    if (encoding.len > 0 && !p->url_encoding)
        fault = "encoding-type can only be url.";
    else if (max.len > 0 && !span_to_u64(max, INT32_MAX, &count))
        fault = "max-keys must be a number from 0 to 2147483647.";
    else if (p->has_token && !token_read(r, p))
        fault = "The continuation token is not one of ours.";
    if (fault != NULL) {
        s3_send_error(r, S3_INVALID_ARGUMENT, fault);
        return false;
    }
    if (!p->has_token)
        p->query.after = p->start_after;
    p->query.max = count < S3_LIST_MAX ? (size_t)count : S3_LIST_MAX;
    return true;
}

// --- the answer ---

static void on_item(void *ctx, const struct listing_item *item)
{
    struct list_answer *a = ctx;
    char modified[CLOCK_ISO_BYTES], etag[ETAG_BYTES];
    if (item->is_prefix) {
        buf_add_text(&a->prefixes, "<CommonPrefixes>");
        add_element(a->p, "Prefix", item->name, &a->prefixes);
        buf_add_text(&a->prefixes, "</CommonPrefixes>");
        return;
    }
    struct buf *out = &a->contents;
    record_etag(&item->record, etag);
    buf_add_text(out, "<Contents>");
    add_element(a->p, "Key", item->name, out);
    buf_printf(out, "<LastModified>%s</LastModified><ETag>&quot;%.*s&quot;</ETag>",
               clock_iso8601(item->record.modified_ms / 1000 * 1000, modified),
               (int)strlen(etag) - 2, etag + 1);
    if (item->record.checksum_kind != CHECKSUM_NONE)
        buf_printf(out,
                   "<ChecksumAlgorithm>%s</ChecksumAlgorithm><ChecksumType>FULL_OBJECT"
                   "</ChecksumType>",
                   checksum_name(item->record.checksum_kind));
    buf_printf(out, "<Size>%llu</Size>", (unsigned long long)item->record.size_bytes);
    if (a->p->fetch_owner)
        buf_add_text(out, "<Owner><ID>smelt</ID><DisplayName>smelt</DisplayName></Owner>");
    buf_add_text(out, "<StorageClass>STANDARD</StorageClass></Contents>");
}

static void send_page(struct s3_request *r, const struct list_parameters *p,
                      const struct list_answer *a, const struct listing_page *page)
{
    AUTO_BUF struct buf xml = {0};
    buf_printf(&xml,
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
               "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name>",
               r->bucket);
    add_element(p, "Prefix", p->query.prefix, &xml);
    if (p->query.delimiter.len > 0)
        add_element(p, "Delimiter", p->query.delimiter, &xml);
    if (p->start_after.len > 0)
        add_element(p, "StartAfter", p->start_after, &xml);
    if (p->has_token) {
        buf_add_text(&xml, "<ContinuationToken>");
        xml_escape(p->token, &xml);
        buf_add_text(&xml, "</ContinuationToken>");
    }
    if (page->truncated) {
        buf_add_text(&xml, "<NextContinuationToken>");
        token_make(page, &xml);
        buf_add_text(&xml, "</NextContinuationToken>");
    }
    buf_printf(&xml, "<MaxKeys>%zu</MaxKeys><KeyCount>%zu</KeyCount><IsTruncated>%s</IsTruncated>",
               p->query.max, page->count, page->truncated ? "true" : "false");
    if (p->url_encoding)
        buf_add_text(&xml, "<EncodingType>url</EncodingType>");
    buf_add_span(&xml, buf_view(&a->contents));
    buf_add_span(&xml, buf_view(&a->prefixes));
    buf_add_text(&xml, "</ListBucketResult>");
    s3_send_xml(r, 200, &xml);
}

void op_list_objects(struct s3_request *r)
{
    struct list_parameters p = {.url_encoding = false};
    struct list_answer a = {.p = &p};
    struct listing_page page = {.count = 0};
    struct catalog_txn *txn;
    struct bucket bucket;
    struct error error;
    bool no_bucket = false;
    if (!parameters_read(r, &p))
        return;
    enum err err = store_read_begin(r->server->store, &txn, &error);
    if (err == OK) {
        err = catalog_bucket_get(txn, r->bucket, &bucket, &error);
        no_bucket = err == ERR_NOT_FOUND;
    }
    if (err == OK)
        err = listing_run(txn, bucket.root, &p.query, on_item, &a, &page, &error);
    store_read_end(r->server->store);
    if (err == OK)
        send_page(r, &p, &a, &page);
    else
        s3_send_failure(r, err, no_bucket, &error);
    buf_release(&a.contents);
    buf_release(&a.prefixes);
    listing_page_release(&page);
}
