// Message move tasks: redrive of a dead-letter queue, in the background, at a rate. Part of the
// state machine.
#pragma once

#include "sqs/queue.h"

enum task_status { TASK_RUNNING, TASK_COMPLETED, TASK_CANCELLED, TASK_FAILED };
enum { TASKS_KEPT = 10, TASK_ID_BYTES = 40 };

struct move_task {
    struct move_task *next;                    // of its queue, newest first
    struct move_task *next_running;            // of all
    struct queue *queue;                       // the source
    uint64_t destination;                      // id of a queue; 0: each message's own source
    char destination_name[QUEUE_NAME_MAX + 1]; // stays when it is gone
    char id[TASK_ID_BYTES];                    // UUID
    int64_t started_ms;                        // store time
    int64_t next_ms;                           // when more may be moved
    int64_t paced_from_ms;                     // the rate counts from here, and from
    uint64_t budget_from;                      // so many moved
    uint64_t moved, to_move;
    uint32_t rate; // messages per second; 0: as fast as it goes
    enum task_status status;
    bool destination_gone; // why it failed; else: a message has no source
    struct journal_place record;
    bool recorded;
};

// One runs at a time per source. *wait_for as everywhere.
enum sqs_code task_start(struct queues *qs, struct queue *source, struct queue *destination,
                         uint32_t rate, const char *id, int64_t now_ms, uint64_t *wait_for,
                         struct fault *f);
struct move_task *task_find(struct queue *q, struct span id); // NULL: none
const struct move_task *tasks_of(const struct queue *q);      // newest first
enum sqs_code task_cancel(struct queues *qs, struct move_task *t, uint64_t *wait_for,
                          struct fault *f);

// For the state machine.
bool tasks_run(struct queues *qs, int64_t now_ms);      // true: more to do at once
int64_t tasks_next_ms(const struct queues *qs);         // INT64_MAX: none waits
void tasks_release(struct queues *qs, struct queue *q); // with their counts in the journal
enum err task_replay(struct queues *qs, struct queue *q, const struct journal_record *record,
                     struct error *error) MUST_CHECK;
void tasks_settle(struct queues *qs, int64_t now_ms);
enum err task_move_record(struct queues *qs, struct queue *q, const struct journal_record *record,
                          struct error *error) MUST_CHECK;
