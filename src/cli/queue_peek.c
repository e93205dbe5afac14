// smelt queue peek, smelt queue receive.
#include "base/limits.h"
#include "cli/queue.h"
#include "cli/queue_messages.h"

#include <stdio.h>
#include <string.h>

// clang-format off
static const struct option peek_options[] = {
    QUEUE_OPTIONS,
    {"max", "N", "10", "messages to show; also -n N"},
    {"full", NULL, NULL, "whole bodies and all attributes"},
    {"yes", NULL, NULL, "do not ask before messages are received where they cannot be peeked at"},
    {0},
};

static const struct option receive_options[] = {
    QUEUE_OPTIONS,
    {"max", "N", "1", "messages to receive; also -n N"},
    {"wait", "S", "0", "seconds to wait for the first one (0 to 20)"},
    {"visibility", "S", NULL, "seconds that they stay hidden from others (default: the queue's)"},
    {"delete", NULL, NULL, "delete them when they have been printed"},
    {"full", NULL, NULL, "whole bodies and all attributes"},
    {0},
};
// clang-format on

enum { SHOWN_MAX = 10 * 1000 * 1000 };

static enum err is_fifo(struct queue_client *c, const char *queue, struct buf *url, bool *fifo,
                        struct error *error)
{
    TRY(queue_find_url(c, queue, url, error));
    size_t len = url->len;
    *fifo = len > 5 && strcmp(url->data + len - 5, ".fifo") == 0;
    return OK;
}

// --- peek ---

static enum err peek(struct queue_client *c, const char *queue, size_t max, bool *done,
                     struct error *error)
{
    AUTO_BUF struct buf url = {0};
    struct queue_printer printer;
    bool fifo;
    TRY(is_fifo(c, queue, &url, &fifo, error));
    queue_printer_init(&printer, c->options, fifo);
    enum err err = queue_peek(c, url.data, max, queue_print_message, &printer, error);
    if (err == ERR_UNSUPPORTED) {
        char question[700];
        snprintf(
            question, sizeof question,
            "%.300s.\nInstead up to %zu messages of '%.80s' are received, hidden from others "
            "for a moment (%d s at most), and handed back: their receive counts go up by one%s.",
            error->msg, max < QUEUE_BORROW_MAX ? max : QUEUE_BORROW_MAX, queue, QUEUE_BORROW_S,
            fifo ? ", and their groups wait" : ", and a dead-letter queue may take them");
        err = OK;
        *done = queue_confirm(c, question, "receive");
        if (*done)
            err = queue_borrow(c, url.data, max, queue_print_message, &printer, error);
    }
    queue_printer_end(&printer);
    if (err == OK && *done && printer.printed == 0)
        fprintf(stderr, "queue %s has no messages to show\n", queue_name_of(url.data));
    return err;
}

int queue_peek_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c = {0};
    struct error error;
    long max = 0;
    bool done = true;
    int code =
        options_parse(&o, peek_options, "smelt queue peek [options] QUEUE",
                      "Shows messages, oldest first, whatever their state. On smelt's server "
                      "nothing about\nthem changes; others can only be asked to hand them "
                      "out: then it says so, and asks.",
                      argc, argv);
    const char *queue = code < 0 ? queue_argument(&o, "peek") : NULL;
    if (code < 0 && (queue == NULL || !options_int(&o, "max", 1, SHOWN_MAX, &max)))
        code = 2;
    if (code < 0)
        code = queue_client_open(&c, &o);
    if (code < 0) {
        enum err err = peek(&c, queue, (size_t)max, &done, &error);
        code = err != OK ? queue_failed(&c, queue, &error) : done ? 0 : 1;
    }
    queue_client_close(&c);
    options_release(&o);
    return code;
}

// --- receive ---

struct receiving {
    long max, wait_s, visibility_s;
    bool delete;
};

static enum err delete_printed(struct queue_client *c, const char *url, json_t *handles,
                               struct error *error)
{
    fflush(stdout);
    enum err err = queue_batch(c, "DeleteMessageBatch", url, handles, NULL, error);
    json_array_clear(handles);
    return err;
}

static enum err receive_all(struct queue_client *c, const char *url, const struct receiving *r,
                            struct queue_printer *printer, json_t *handles, struct error *error)
{
    enum err err = OK;
    bool more = true;
    while (err == OK && more && printer->printed < (size_t)r->max) {
        json_t *messages = NULL, *message;
        size_t i;
        int wait_s = printer->printed == 0 ? (int)r->wait_s : 0;
        err = queue_receive_some(c, url, (size_t)r->max - printer->printed, wait_s,
                                 (int)r->visibility_s, &messages, error);
        more = json_array_size(messages) > 0;
        json_array_foreach(messages, i, message)
        {
            json_array_append(handles, json_object_get(message, "ReceiptHandle"));
            queue_print_message(printer, message);
        }
        json_decref(messages);
        if (err == OK && r->delete &&printer->json) // a table is printed when all is there
            err = delete_printed(c, url, handles, error);
    }
    return err;
}

static enum err receive(struct queue_client *c, const char *queue, const struct receiving *r,
                        struct error *error)
{
    AUTO_BUF struct buf url = {0};
    struct queue_printer printer;
    bool fifo;
    TRY(is_fifo(c, queue, &url, &fifo, error));
    queue_printer_init(&printer, c->options, fifo);
    json_t *handles = json_array();
    enum err err = receive_all(c, url.data, r, &printer, handles, error);
    queue_printer_end(&printer);
    if (err == OK && r->delete)
        err = delete_printed(c, url.data, handles, error);
    json_decref(handles);
    if (err == OK && printer.printed == 0)
        fprintf(stderr, "nothing came from queue %s\n", queue_name_of(url.data));
    return err;
}

int queue_receive_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c = {0};
    struct error error;
    struct receiving r = {.visibility_s = -1};
    int code = options_parse(&o, receive_options, "smelt queue receive [options] QUEUE",
                             "Receives messages like any consumer: they stay hidden for the "
                             "visibility timeout, and\ncome again unless they are deleted.",
                             argc, argv);
    const char *queue = code < 0 ? queue_argument(&o, "receive") : NULL;
    if (code < 0 && (queue == NULL || !options_int(&o, "max", 1, SHOWN_MAX, &r.max) ||
                     !options_int(&o, "wait", 0, SQS_WAIT_S_MAX, &r.wait_s) ||
                     (options_get(&o, "visibility") != NULL &&
                      !options_int(&o, "visibility", 0, SQS_VISIBILITY_S_MAX, &r.visibility_s))))
        code = 2;
    r.delete = code < 0 && options_on(&o, "delete");
    if (code < 0)
        code = queue_client_open(&c, &o);
    if (code < 0) {
        enum err err = receive(&c, queue, &r, &error);
        code = err == OK ? 0 : queue_failed(&c, queue, &error);
    }
    queue_client_close(&c);
    options_release(&o);
    return code;
}
