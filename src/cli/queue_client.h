// What the commands of `smelt queue` share: who is asked with which keys, calls that wait for their
// answer, Ctrl-C. One thread, one call at a time.
#pragma once

#include "aws/aws_client.h"
#include "aws/redrive_policy.h"
#include "cli/options.h"

#include <jansson.h>
#include <sys/types.h>

// clang-format off
#define QUEUE_OPTIONS                                                                              \
    {"sqs-endpoint", "URL", NULL,                                                                  \
     "the queue service (default: AWS_ENDPOINT_URL_SQS; a smelt here; Amazon's)"},                 \
    {"region", "NAME", NULL,                                                                       \
     "default: AWS_REGION, AWS_DEFAULT_REGION, the profile's, us-east-1"},                         \
    {"credentials", "FILE", NULL,                                                                  \
     "the keys' file (default: AWS_ACCESS_KEY_ID …, web identity, AWS_PROFILE, a smelt here,\n"    \
     "container, EC2 instance role; docs/aws.md)"},                                                \
    {"data", "DIR", NULL, "of a `smelt serve` on this machine: its keys, its default port"},       \
    {"json", NULL, NULL, "one JSON object per line, for programs"}
// clang-format on

struct queue_client {
    const struct options *options;
    struct loop *loop;
    struct http_client *http;
    struct aws_client *sqs;
    struct keys *keys;
    char endpoint[320]; // as it is named to people; for plain requests beside the API
    const char *region; // as given; NULL: the environment's
    bool local;         // the smelt whose data directory is known
    bool interrupted;   // Ctrl-C
    bool finish_call;   // Ctrl-C does not end the call under way: its outcome must be known
    // the call under way
    struct sqs_call *call;
    struct http_call *plain;
    struct aws_result result;
    json_t *answer;
    struct buf *text;
    struct timer timer;
};

// What went wrong was said on standard error. Returns -1 to go on, else the exit code.
int queue_client_open(struct queue_client *c, const struct options *o);
void queue_client_close(struct queue_client *c);

// Asks the service; request is taken. *answer (the caller's, may be NULL if not wanted) is set on
// OK. ERR_CANCELLED after Ctrl-C. The code of the service stays in c->result.code.
enum err queue_ask(struct queue_client *c, const char *action, json_t *request, int wait_s,
                   json_t **answer, struct error *error) MUST_CHECK;
// A name becomes its URL; a URL is copied as it is. ERR_NOT_FOUND names queue and endpoint, and the
// nearest name.
enum err queue_find_url(struct queue_client *c, const char *queue, struct buf *url,
                        struct error *error) MUST_CHECK;
const char *queue_name_of(const char *url); // its last part, a view
// {"AttributeName": "text"}; the caller's.
enum err queue_attributes(struct queue_client *c, const char *url, json_t **out,
                          struct error *error) MUST_CHECK;
const char *queue_attribute(const json_t *attributes, const char *name, const char *fallback);
int64_t queue_number(const json_t *attributes, const char *name); // 0: not there
// redrive_policy_read of the attributes' RedrivePolicy.
const char *queue_dead_letters(const json_t *attributes, char out[QUEUE_NAME_SIZE],
                               int *max_receives);

// The unsigned page of our own server at ENDPOINT/path. ERR_NOT_FOUND: it has none.
enum err queue_page(struct queue_client *c, const char *path, struct buf *out,
                    struct error *error) MUST_CHECK;
// Reads what standard input has, waiting for it; 0 at its end, -1 after Ctrl-C or an error.
ssize_t queue_read_input(struct queue_client *c, char *out, size_t out_bytes);
// false: Ctrl-C came.
bool queue_pause(struct queue_client *c, int64_t ms);

// Says on standard error what went wrong with a queue; returns the exit code 1.
int queue_failed(const struct queue_client *c, const char *queue, const struct error *error);
// The one argument of a command, or NULL after a complaint (exit code 2).
const char *queue_argument(const struct options *o, const char *command);
// Asks on the terminal whether to go on: expects the word. Without a terminal: no, and says --yes.
bool queue_confirm(struct queue_client *c, const char *question, const char *word);
