#include "aws/s3_listing.h"

#include "base/limits.h"
#include "base/text.h"

#include <libxml/parser.h>
#include <string.h>

static bool is_named(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

// The text of the child of that name; empty if there is none.
static struct span child_text(const xmlNode *node, const char *name)
{
    for (const xmlNode *n = node->children; n != NULL; n = n->next)
        if (is_named(n, name))
            for (const xmlNode *text = n->children; text != NULL; text = text->next)
                if (text->type == XML_TEXT_NODE || text->type == XML_CDATA_SECTION_NODE)
                    return span_from((const char *)text->content);
    return SPAN("");
}

static enum err read_object(const xmlNode *node, bool encoded, struct arena *arena,
                            struct s3_listed *out, struct error *error)
{
    AUTO_BUF struct buf key = {0};
    struct span text = child_text(node, "Key");
    if (encoded && !url_decode(text, true, &key))
        return fail(error, ERR_FORMAT, 0, "a listing holds a key that is not URL-encoded");
    out->key = arena_copy_span(arena, encoded ? buf_view(&key) : text);
    out->modified = arena_copy(arena, child_text(node, "LastModified"));
    if (!span_to_u64(child_text(node, "Size"), UINT64_MAX, &out->bytes))
        out->bytes = 0;
    return out->key.len > 0 ? OK : fail(error, ERR_FORMAT, 0, "a listing holds an empty key");
}

static enum err read_result(const xmlNode *root, struct arena *arena, struct s3_listing *out,
                            struct error *error)
{
    size_t count = 0;
    bool encoded = span_is_nocase(child_text(root, "EncodingType"), "url");
    for (const xmlNode *n = root->children; n != NULL; n = n->next)
        count += is_named(n, "Contents");
    if (count > S3_LIST_MAX)
        return fail(error, ERR_FORMAT, 0, "a listing of %zu keys; a page has at most %d", count,
                    S3_LIST_MAX);
    out->objects = arena_alloc(arena, (count + 1) * sizeof *out->objects);
    for (const xmlNode *n = root->children; n != NULL; n = n->next)
        if (is_named(n, "Contents"))
            TRY(read_object(n, encoded, arena, &out->objects[out->count++], error));
    struct span token = child_text(root, "NextContinuationToken");
    if (!span_is(child_text(root, "IsTruncated"), "true"))
        return OK;
    if (token.len == 0)
        return fail(error, ERR_FORMAT, 0, "a listing goes on, but says not where");
    out->next_token = arena_copy(arena, token);
    return OK;
}

enum err s3_listing_read(struct span xml, struct arena *arena, struct s3_listing *out,
                         struct error *error)
{
    static const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
    *out = (struct s3_listing){0};
    bool doctype = xml.len > 0 && memmem(xml.data, xml.len, "<!DOCTYPE", 9) != NULL;
    xmlDoc *document = xml.len == 0 || xml.len > INT32_MAX || doctype
                           ? NULL
                           : xmlReadMemory(xml.data, (int)xml.len, NULL, NULL, options);
    const xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    enum err err = OK;
    if (root == NULL || !is_named(root, "ListBucketResult"))
        err = fail(error, ERR_FORMAT, 0, "the store's listing is no ListBucketResult");
    else
        err = read_result(root, arena, out, error);
    xmlFreeDoc(document);
    return err;
}
