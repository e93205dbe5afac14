// Shared by poller.c (life and flow), source.c (queues), message.c (messages and leases), task.c
// and task_result.c (one job's way) and poller_status.c. Nobody else includes it.
#pragma once

#include "aws/queue_setup.h"
#include "base/arena.h"
#include "base/limits.h"
#include "base/trace.h"
#include "job/job.h"
#include "worker/crew.h"
#include "worker/dead_letters.h"
#include "worker/lease_book.h"
#include "worker/outbox.h"
#include "worker/poller.h"
#include "worker/tally.h"

// Outage or not, of one service: logged when it changes.
struct service {
    const char *name;
    bool broken;
    int64_t since_ms;
    char why[200];
};

// One queue that jobs come from.
struct source {
    struct poller *poller;
    char *queue; // name or URL, as given
    int weight;  // 1 … WORKER_WEIGHT_MAX
    int visibility_s;
    struct setup *setup;
    struct setup_result found; // found.queue_url NULL: not there yet
    bool lost;                 // deleted under way: the setup looks again
    struct sqs_call *receive;
    int64_t receive_begun_ms;
    struct timer retry, receive_limit;
    int failures;
    struct dead_letters *dead_letters; // NULL: it has no such queue
    bool busy;                         // its last receive brought something
    double pass; // messages taken / weight: of the busy ones the lowest is next
    uint64_t receives, empty_receives, received;
    struct sqs_call *asking; // for its attributes
    int64_t asked_ms;        // 0: never
    uint64_t waiting;        // messages in it, when last asked
    bool waiting_known;
};

// What becomes of a message when its jobs are done.
enum verdict {
    VERDICT_DELETE, // all of them have a durable result
    VERDICT_RETURN, // to be received again (or moved to the dead-letter queue) at once
};

struct message {
    struct message *next, *prev;
    struct poller *poller;
    struct source *source;
    struct arena arena; // of what is below
    const char *id;
    char *receipt; // malloc'ed: a redelivery brings a newer one
    int lease;     // its place in the lease book; -1: none
    int receive_count;
    char trace[TRACE_ID_BYTES]; // of its AWSTraceHeader; "" none
    int64_t received_wall_ms, sent_wall_ms;
    int64_t renew_at_ms; // the lease's next extension
    struct job *jobs;
    size_t job_count, next_job; // [next_job..) are not started
    size_t open_tasks;
    enum verdict verdict;
    bool stale; // its lease was lost: it is not given back
    bool keep;  // it has records that are wrong: it goes to the dead-letter queue in the end
};

enum task_step {
    TASK_TWIN,     // another task of the same id is in hand: waits for its end
    TASK_ADOPTING, // asks whether there is a result already
    TASK_FETCHING,
    TASK_READY, // picture here, no lane free
    TASK_WITH_CREW,
    TASK_PUBLISHING, // the outcome is known
    TASK_REPLYING,
};

struct task {
    struct task *next, *prev; // all tasks
    struct task *next_ready;
    struct message *message;
    const struct job *job;
    enum task_step step;
    struct buf picture;
    int model;                            // number in the crew; -1: not one of its models
    const struct crew_model *answered_by; // during on_answer
    struct job_timing timing;
    int64_t fetch_begun_us, publish_begun_us;
    char trace[TRACE_ID_BYTES]; // "" none
    char model_name[129];       // that answered, or was asked for
    struct buf result;          // the object to publish
    enum job_status status;     // in it
    enum verdict verdict;       // after it is published
    struct s3_call *call;
    struct timer retry;
    void (*again)(struct task *t); // what the retry does
    bool superseded;     // there is a result already, of a cancellation or of somebody else's work
    bool last_words;     // its message is left to the dead-letter queue
    char instead_of[80]; // ETag of the dead letter's failure that its result replaces; "" none
    bool replaces_nothing; // the store cannot
    bool probing;          // its call tries whether the store is back
    int failures;          // of the step, in a row
    int handed_over;       // times given to the crew and come back
};

struct poller {
    struct poller_config config;
    struct crew *crew;
    struct outbox *outbox;
    struct lease_book *leases; // NULL: none
    struct source sources[WORKER_QUEUES_MAX];
    size_t source_count;
    struct service sqs, s3;
    double pace;          // jobs in hand at most, while a service asks to slow down
    int64_t slowed_at_ms; // when it last did
    int probes;           // calls that try whether the store is back
    int probe_failures;   // in a row
    int64_t probe_at_ms;  // none before
    struct turn_hook hook;
    struct message *messages;
    struct task *tasks;
    struct task *ready_first, **ready_end;
    size_t task_count, open_count;   // open: the outcome is not known yet
    size_t message_count, unstarted; // jobs of messages that are no tasks yet
    size_t picture_bytes;            // held in tasks
    struct timer lease, drain_limit;
    double job_us; // decoding and inferring one picture, smoothed; 0: not known yet
    bool crew_ready, announced, draining, drained, leaving;
    struct tally tally;
    uint64_t finished[JOB_CANCELLED + 1], returned, adopted, twins, stale, renewals, slowdowns;
};

// poller.c
void service_note(struct poller *p, struct service *s, const struct aws_result *r);
int64_t poller_back_off_ms(int failures); // full jitter
size_t poller_in_hand_max(const struct poller *p);
size_t poller_prefetch(const struct poller *p);
void poller_announce(struct poller *p); // when crew and queues are there
void poller_speed_up(struct poller *p); // a call that would have been throttled was not

// source.c
enum err sources_open(struct poller *p, struct error *error) MUST_CHECK;
void sources_close(struct poller *p);
void sources_receive(struct poller *p); // as much as is wanted now
void sources_stop(struct poller *p);    // ends receives and retries
void sources_drain(struct poller *p);   // the same, but an answer on its way may come
bool sources_receiving(const struct poller *p);
int sources_visibility_s(const struct poller *p); // the shortest
void sources_wake(struct poller *p);              // the queue service is back: retries come soon
void sources_setup_again(struct poller *p);
bool sources_found(const struct poller *p, const char **missing); // all of them

// message.c
void message_take(struct source *s, const struct sqs_message *in);
void message_task_done(struct message *m, enum verdict verdict);
void message_forget(struct message *m);
void messages_watch_leases(struct poller *p);
void messages_forget_unstarted(struct poller *p);
void messages_on_stale(void *ctx, struct span receipt); // somebody else has the message now

// task.c
void task_new(struct message *m, const struct job *job); // and starts it; it never ends inside
// Makes a task and publishes its failure at once.
void task_refuse(struct message *m, const struct job *job, const char *code, const char *sentence);
void task_free(struct task *t);
void task_end(struct task *t, enum verdict verdict);
void task_abandon(struct task *t); // whatever it does, now: its message goes back to the queue
void task_on_answer(struct task *t, const struct crew_answer *answer);
void task_on_death(struct task *t, const struct crew_death *death);
void task_on_return(struct task *t);
struct task *task_take_ready(struct poller *p);
void task_hand_over(struct task *t); // to the crew, which has room
void task_look(struct task *t); // computed for long: is there a result already? then it is stopped
bool task_expired(struct task *t);       // true: its time is over, and its result on its way
bool task_is_open(const struct task *t); // its outcome is not known yet
void task_set_step(struct task *t, enum task_step step);
void task_drop_picture(struct task *t);
void task_fetch(struct task *t);
// The step's call failed for now: again after a pause.
void task_again_later(struct task *t, void (*again)(struct task *t));
void tasks_wake(struct poller *p); // the store is back: retries come soon
// A callback of a cancelled call only clears it (false): who cancelled goes on.
bool task_call_done(struct task *t, const struct aws_result *r);

// task_result.c
// The outcome is known: writes it down and publishes it. predictions: when succeeded.
void task_finish(struct task *t, enum job_status status, struct span predictions, const char *code,
                 const char *sentence);
void task_adopt(struct task *t); // looks for a result that is there already; else fetches

// backlog.c
struct metrics;
void backlog_ask(struct poller *p);
void backlog_stop(struct poller *p);
void backlog_metrics(const struct poller *p, struct metrics *m);
