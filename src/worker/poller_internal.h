// Shared by poller.c (messages, leases, flow) and task.c (one job's way). Nobody else includes it.
#pragma once

#include "base/arena.h"
#include "job/job.h"
#include "worker/crew.h"
#include "worker/outbox.h"
#include "worker/poller.h"
#include "worker/queue_setup.h"

// Outage or not, of one service: logged when it changes.
struct service {
    const char *name;
    bool broken;
    int64_t since_ms;
    char why[200];
};

// What becomes of a message when its jobs are done.
enum verdict {
    VERDICT_DELETE, // all of them have a durable result
    VERDICT_RETURN, // to be received again (or moved to the dead-letter queue) at once
};

struct message {
    struct message *next, *prev;
    struct poller *poller;
    struct arena arena; // of what is below
    const char *id;
    char *receipt; // malloc'ed: a redelivery brings a newer one
    int receive_count;
    int64_t received_wall_ms, sent_wall_ms;
    int64_t renew_at_ms; // the lease's next extension
    struct job *jobs;
    size_t job_count, next_job; // [next_job..) are not started
    size_t open_tasks;
    enum verdict verdict;
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
    int64_t fetch_begun_us;
    struct buf result;    // the object to publish
    enum verdict verdict; // after it is published
    struct s3_call *call;
    struct timer retry;
    int failures;    // of the step, in a row
    int handed_over; // times given to the crew and come back
};

struct poller {
    struct poller_config config;
    struct crew *crew;
    struct outbox *outbox;
    struct setup *setup;
    struct setup_result queue; // queue.queue_url NULL: not there yet
    struct service sqs, s3;
    struct turn_hook hook;
    struct message *messages;
    struct task *tasks;
    struct task *ready_first, **ready_end;
    size_t task_count, open_count;   // open: the outcome is not known yet
    size_t message_count, unstarted; // jobs of messages that are no tasks yet
    size_t picture_bytes;            // held in tasks
    struct sqs_call *receive;
    struct timer receive_retry, lease, drain_limit;
    int receive_failures;
    double job_us; // decoding and inferring one picture, smoothed; 0: not known yet
    bool queue_lost, crew_ready, announced, draining, drained, leaving;
    uint64_t finished[JOB_CANCELLED + 1], returned, receives, received, adopted, twins;
};

void service_note(struct poller *p, struct service *s, const struct aws_result *r);
int64_t poller_back_off_ms(int failures); // full jitter

// task.c
void task_new(struct message *m, const struct job *job); // and starts it; it never ends inside
// Makes a task and publishes its failure at once.
void task_refuse(struct message *m, const struct job *job, const char *code, const char *sentence);
void task_free(struct task *t);
void task_abandon(struct task *t); // whatever it does, now: its message goes back to the queue
void task_on_answer(struct task *t, const struct crew_answer *answer);
void task_on_death(struct task *t, const struct crew_death *death);
void task_on_return(struct task *t);
struct task *task_take_ready(struct poller *p);
// poller.c
void message_task_done(struct message *m, enum verdict verdict);
