// smelt queue list, smelt queue purge.
#include "base/check.h"
#include "base/text.h"
#include "cli/queue.h"
#include "cli/queue_client.h"
#include "cli/text_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 1000, LISTED_MAX = 100000 };

static const struct option list_options[] = {QUEUE_OPTIONS, {0}};

// The URLs of all queues whose name begins with prefix, page by page.
static enum err list_urls(struct queue_client *c, const char *prefix, json_t *urls,
                          struct error *error)
{
    json_t *answer = NULL;
    do {
        json_t *request = json_pack("{s:i}", "MaxResults", PAGE_MAX);
        json_t *token = json_object_get(answer, "NextToken");
        if (prefix != NULL)
            json_object_set_new(request, "QueueNamePrefix", json_string(prefix));
        if (token != NULL)
            json_object_set(request, "NextToken", token);
        json_decref(answer);
        TRY(queue_ask(c, "ListQueues", request, 0, &answer, error));
        json_array_extend(urls, json_object_get(answer, "QueueUrls"));
    } while (json_object_get(answer, "NextToken") != NULL && json_array_size(urls) < LISTED_MAX);
    json_decref(answer);
    return OK;
}

static void print_json(const char *url, const json_t *attributes)
{
    static const struct {
        const char *attribute, *field;
    } counts[] = {{"ApproximateNumberOfMessages", "visible"},
                  {"ApproximateNumberOfMessagesNotVisible", "in_flight"},
                  {"ApproximateNumberOfMessagesDelayed", "delayed"}};
    char dlq[QUEUE_NAME_SIZE];
    int receives;
    json_t *line = json_pack("{s:s,s:s}", "queue", queue_name_of(url), "url", url);
    for (size_t i = 0; i < 3; i++)
        json_object_set_new(line, counts[i].field,
                            json_integer(queue_number(attributes, counts[i].attribute)));
    json_object_set_new(
        line, "fifo",
        json_boolean(strcmp(queue_attribute(attributes, "FifoQueue", "false"), "true") == 0));
    if (queue_dead_letters(attributes, dlq, &receives)[0] != '\0')
        json_object_set_new(line, "dead_letter_queue", json_string(dlq));
    json_dumpf(line, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(line);
}

static void add_row(struct text_table *t, const char *url, const json_t *attributes)
{
    char dlq[QUEUE_NAME_SIZE];
    int receives;
    text_table_add(t, queue_name_of(url));
    text_table_add_number(t, queue_number(attributes, "ApproximateNumberOfMessages"));
    text_table_add_number(t, queue_number(attributes, "ApproximateNumberOfMessagesNotVisible"));
    text_table_add_number(t, queue_number(attributes, "ApproximateNumberOfMessagesDelayed"));
    text_table_add(t, queue_dead_letters(attributes, dlq, &receives)[0] != '\0' ? dlq : "-");
}

static enum err list(struct queue_client *c, const char *prefix, json_t *urls, struct error *error)
{
    static const char *const heads[] = {"QUEUE",    ">VISIBLE",     ">IN FLIGHT",
                                        ">DELAYED", "DEAD LETTERS", NULL};
    struct text_table table;
    json_t *url;
    size_t i;
    enum err err = OK;
    bool as_json = options_on(c->options, "json");
    TRY(list_urls(c, prefix, urls, error));
    text_table_init(&table, heads);
    json_array_foreach(urls, i, url)
    {
        json_t *attributes = NULL;
        err = queue_attributes(c, json_string_value(url), &attributes, error);
        if (err == ERR_NOT_FOUND) // deleted since
            continue;
        if (err != OK)
            break;
        if (as_json)
            print_json(json_string_value(url), attributes);
        else
            add_row(&table, json_string_value(url), attributes);
        json_decref(attributes);
    }
    if (err == ERR_NOT_FOUND)
        err = OK;
    AUTO_BUF struct buf text = {0};
    text_table_write(&table, 0, &text);
    if (err == OK && !as_json && table.count > table.columns)
        fputs(text.data, stdout);
    else if (err == OK && json_array_size(urls) == 0)
        fprintf(stderr, "no queues%s%s at %s\n", prefix != NULL ? " that begin with " : "",
                prefix != NULL ? prefix : "", c->endpoint);
    text_table_release(&table);
    return err;
}

int queue_list_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c = {0};
    struct error error;
    int code = options_parse(&o, list_options, "smelt queue list [options] [PREFIX]",
                             "The queues, and how many messages are in each.", argc, argv);
    if (code < 0 && o.argument_count > 1) {
        fprintf(stderr, "smelt: queue list takes one prefix, and '%s' is a second argument\n",
                o.arguments[1]);
        code = 2;
    }
    if (code < 0)
        code = queue_client_open(&c, &o);
    if (code < 0) {
        json_t *urls = json_array();
        enum err err = list(&c, o.argument_count > 0 ? o.arguments[0] : NULL, urls, &error);
        code = err == OK ? 0 : queue_failed(&c, NULL, &error);
        json_decref(urls);
    }
    queue_client_close(&c);
    options_release(&o);
    return code;
}

// --- purge ---

static const struct option purge_options[] = {
    QUEUE_OPTIONS, {"yes", NULL, NULL, "do not ask"}, {0}};

static enum err purge(struct queue_client *c, const char *queue, bool *done, struct error *error)
{
    AUTO_BUF struct buf url = {0};
    char question[500];
    json_t *attributes = NULL;
    TRY(queue_find_url(c, queue, &url, error));
    TRY(queue_attributes(c, url.data, &attributes, error));
    const char *name = queue_name_of(url.data);
    int64_t visible = queue_number(attributes, "ApproximateNumberOfMessages");
    int64_t hidden = queue_number(attributes, "ApproximateNumberOfMessagesNotVisible") +
                     queue_number(attributes, "ApproximateNumberOfMessagesDelayed");
    json_decref(attributes);
    snprintf(
        question, sizeof question,
        "This deletes all messages of queue '%.80s' at %.200s, for good: %lld visible, %lld in "
        "flight or delayed.",
        name, c->endpoint, (long long)visible, (long long)hidden);
    *done = queue_confirm(c, question, name);
    if (!*done)
        return OK;
    TRY(queue_ask(c, "PurgeQueue", json_pack("{s:s}", "QueueUrl", url.data), 0, NULL, error));
    if (options_on(c->options, "json"))
        printf("{\"queue\":\"%s\",\"purged\":%lld}\n", name, (long long)(visible + hidden));
    else
        printf("purged %s: about %lld messages deleted\n", name, (long long)(visible + hidden));
    return OK;
}

int queue_purge_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c = {0};
    struct error error;
    bool done = false;
    int code =
        options_parse(&o, purge_options, "smelt queue purge [options] QUEUE",
                      "Deletes all messages of a queue. Asks for its name first.", argc, argv);
    const char *queue = code < 0 ? queue_argument(&o, "purge") : NULL;
    if (code < 0)
        code = queue == NULL ? 2 : queue_client_open(&c, &o);
    if (code < 0) {
        enum err err = purge(&c, queue, &done, &error);
        code = err != OK ? queue_failed(&c, queue, &error) : done ? 0 : 1;
    }
    queue_client_close(&c);
    options_release(&o);
    return code;
}
