// Every limit of smelt, with unit and reason. Nothing that grows is without one.
#pragma once

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

enum {
    // HTTP
    HTTP_HEADER_BYTES_MAX =
        20 << 10,           // a connection's memory, cleared at every request: its head (AWS
                            // clients stay under 8 KiB), their index and the reply's head
    HTTP_HEADERS_MAX = 100, // header lines of a request
    HTTP_QUERY_PARAMETERS_MAX = 2000, // Query protocol: 10 entries x 10 attributes x ~6 parameters
    HTTP_CONNECTIONS_MAX = 12000,     // per role; 5,000 idle long polls and slow clients must fit
    HTTP_IDLE_TIMEOUT_S = 75,         // keep-alive without a request; clients' own are 60 s
    HTTP_HEAD_S_MAX = 20,   // for all of a head that comes in pieces; clients send it at once
    HTTP_BODY_GRACE_S = 30, // a body may come as slowly as it likes for so long,
    HTTP_BODY_BYTES_PER_S_MIN = 1024, // then this much on average: slower than any phone's network
    HTTP_UNREAD_BODIES_BYTES_MAX = 256 << 20, // bodies that are not whole yet, in memory, per role:
                                              // 36 of the largest SQS requests, 20,000 usual ones
    HTTP_UNSENT_REPLIES_BYTES_MAX = 256
                                    << 20, // replies in memory that clients have not read yet, per
                                           // role: 25 receives of 10 MiB beside what is small
    HTTP_CLIENT_CONNECTIONS_MAX = 64,      // outgoing, per role and host

    // SQS (Amazon's quotas; see docs/protocol.md)
    SQS_MESSAGE_BYTES_MAX = 1 << 20,   // body + attributes of a message, and of a batch
    SQS_REQUEST_BYTES_MAX = 7 << 20,   // HTTP body: 1 MiB of bytes escaped as \uXXXX or %XX
    SQS_UNSIGNED_BYTES_MAX = 64 << 10, // of a body that is taken in before anything is checked
    SQS_BATCH_MAX = 10,
    SQS_WAIT_S_MAX = 20,
    SQS_VISIBILITY_S_MAX = 43200,
    SQS_RECEIVE_COUNT_MAX = 1000, // the highest maxReceiveCount
    SQS_QUEUES_MAX = 10000,
    SQS_INFLIGHT_MAX = 120000, // per queue
    SQS_COMMIT_WAIT_US = 500,  // how long records wait for company while requests come in without a
                               // pause: a sync costs 100 us of a core whatever is in it
    SQS_COMMIT_RECORDS = 48,   // so many wait for no more company: the sync is cheap beside them
    SQS_COOLDOWN_S = 60,       // between two purges, and from a queue's end to one of its name
    SQS_DELETED_NAMES_MAX = 1000, // remembered for that long; more in a minute are a test's doing

    // S3
    S3_CONNECTION_BYTES =
        64 << 10, // a connection's memory: bodies are read in pieces of half of it, and
                  // each costs 12 us; few clients, each with some connections
    S3_KEY_BYTES_MAX = 1024,
    S3_METADATA_BYTES_MAX = 2048,
    S3_LIST_MAX = 1000,         // keys per listing page
    S3_INLINE_BYTES_MAX = 4096, // bodies up to this stay in the catalog: one sync instead of three
    S3_BUCKET_NAME_BYTES_MAX = 63,
    S3_BUCKETS_MAX = 1000,         // Amazon's default is 10,000 since 2024; ListBuckets is one page
    S3_HEADER_BYTES_MAX = 8 << 10, // all stored headers of an object (Amazon's limit for a request)
    S3_DELETE_REQUEST_BYTES_MAX = 2 << 20, // XML of DeleteObjects: 1000 keys (Amazon's limit)
    S3_COMMIT_BATCH_MAX = 512,             // changes that share one transaction
    S3_VERIFY_BYTES_MAX =
        8 << 20, // bodies up to this are checked before they are sent: 2 ms of a core
    S3_CATALOG_RESERVE_BYTES = 8 << 20, // of the catalog file, preallocated: deletes on a full disk

    // Pictures
    IMAGE_BYTES_MAX = 32 << 20, // encoded picture; a 100 MP JPEG at high quality is ~30 MB
    IMAGE_SIDE_MAX = 16384,     // pixels; more than any camera
    IMAGE_PIXELS_MAX = 100 * 1000 * 1000, // 300 MB decoded as RGB: what one child may use
    IMAGE_SCANS_MAX = 100, // progressive JPEG scans: each costs a pass over the picture
    IMAGE_DECODE_BYTES_MAX = 320 << 20,  // what a decoder holds at once where it cannot stream
    IMAGE_METADATA_BYTES_MAX = 16 << 20, // of a PNG, unpacked: text, colour profiles
    IMAGE_TENSOR_SIDE_MAX = 4096,        // pixels of a network's input; detectors take up to 1536

    // Models
    MODEL_RANK_MAX = 8,
    MODEL_NODES_MAX = 100000,
    MODEL_OPSET_MIN = 7,          // before it broadcasting was written differently
    MODEL_OPSET_MAX = 24,         // what the operator table was checked against
    MODEL_DEPTH_MAX = 24,         // messages inside messages; a plain graph needs 7
    MODEL_STEPS_MAX = 16384,      // what is left to compute after folding; ResNet-152 has 160
    MODEL_ELEMENTS_MAX = 1 << 28, // of one tensor: 1 GiB of floats
    MODEL_LABELS_MAX = 100000,
    KERAS_FILE_BYTES_MAX = 1 << 30, // Xception with its optimizer's state has 280 MB
    KERAS_LINKS_MAX = 20000,        // names in a weight file; Xception with an optimizer has 2,000
    KERAS_DEPTH_MAX = 12,           // groups inside groups; Keras uses 5
    KERAS_PATH_BYTES_MAX = 400,
    PACKAGE_FILE_BYTES_MAX = 8 << 20, // smelt.json, the labels: 100,000 labels of 80 bytes
    PACKAGE_GROUPS_MAX = 256,
    TOP_K_MAX = 100,

    // Worker
    WORKER_CHILDREN_MAX = 1024,
    WORKER_QUEUES_MAX = 16,      // that a pool serves; each costs a long poll
    WORKER_WEIGHT_MAX = 1000,    // of a queue among them
    WORKER_VISIBILITY_S_MIN = 3, // renewed at a third: three requests in it
    WORKER_VISIBILITY_S = 60,    // short: a dead host's jobs come back soon; extended at a third
    WORKER_JOB_TIMEOUT_S_MAX = 3600, // a lease is renewed as long; longer jobs are not pictures
    WORKER_KILL_GRACE_MS = 2000,     // after the deadline, for the layer that is being computed
    WORKER_START_S_MAX = 60,         // a child's own memory and its first inference
    WORKER_MODELS_MAX = 16,          // in one pool: all of them are in memory
    WORKER_LOAD_S_MAX = 600,         // a zygote that loads longer is not taken
    WORKER_NOTICE_S =
        5, // between two questions whether EC2 takes the host away: it says so 120 s ahead
    LEASE_BOOK_PLACES =
        1024, // messages in hand that are remembered: two for each child of 256, and more
    WORKER_LIFECYCLE_S_MAX =
        10,                     // for telling the group that the host may go; its hook ends without
    WORKER_NOTICE_RETRY_S = 60, // the same, when nobody answered
    WORKER_BACKLOG_S = 10,      // how old the number of waiting messages in /metrics may be
    WORKER_IDLE_S = 60,         // a child that had no job so long goes, above the least
    WORKER_CHILD_EXTRA_BYTES = 16 << 20, // what a child may take beyond what its proof measured:
                                         // larger pictures
    WORKER_KEEP_S = 600,                 // the generation before is kept so long for the way back
    WORKER_TRIAL_BAD = 3,          // different pictures that end badly on a new generation, and
    WORKER_TRIAL_BAD_PERCENT = 10, // more than this share of its jobs: it is taken back. One
                                   // picture may be poison, two a coincidence; below the share it
                                   // is better to serve than to change
    WORKER_TRIAL_JOBS = 200,     // after so many the counts are halved: what happens now counts
    WORKER_TRIAL_PICTURES = 32,  // that are remembered as different; more than fail a trial of 200
    WORKER_CONDEMNED_MAX = 8,    // states of the packages that were taken back, remembered
    WORKER_SETTLE_MS = 300,      // quiet after a change of a package, before it is looked at,
    WORKER_SETTLE_MS_MAX = 5000, // and how long that may be put off
    WORKER_STDERR_BYTES_MAX = 64 << 10, // what a child may print for one job; above it is killed
    WORKER_STDERR_TAIL_BYTES = 2 << 10, // its last lines, kept for the reason of its death
    WORKER_ANSWER_BYTES_MAX = 64 << 10, // predictions as JSON: 100 labels of 500 bytes
    WORKER_CHILD_BYTES_MAX = 640 << 20, // memory a child may add to what it shares: what one
                                        // picture may need while it is decoded (320 MiB), twice
    WORKER_PREFETCH_MIN = 4,   // pictures fetched ahead of the two that a child has
    WORKER_PREFETCH_MS = 100,  // what all children compute in this time is fetched ahead: a
    WORKER_PREFETCH_MAX = 256, // store's round trip is hidden, other hosts get their share
    WORKER_PREFETCH_BYTES_MAX = 256 << 20, // fetched and waiting; above it nothing more is fetched
    WORKER_LAST_RECEIVE_MS =
        1000,                // from a receive's begin, when draining: its answer may be under way
    WORKER_DRAIN_S_MAX = 20, // from SIGTERM to the end; orchestrators kill after 30 s
    WORKER_DELETE_DELAY_MS = 2000, // how long a delete waits for company while jobs are in hand;
                                   // a pool that dies before costs a look at the result, no more
    WORKER_REPLY_DELAY_MS = 1000,  // the same for the reply to a job that waited ten times as long
    WORKER_RETRY_MS_MAX = 20000,   // back-off of services, zygote and children: full jitter

    // Gateway
    GATEWAY_EVENT_RETRY_MS = 500,        // browsers ask for the next event after that
    GATEWAY_CONNECTION_BYTES = 32 << 10, // likewise: 160 MB for 5,000 browsers that wait
    GATEWAY_WAIT_S_MAX = 30,
    GATEWAY_EXPIRES_S_MAX = 14 * 86400, // SQS keeps no message longer
    GATEWAY_SUBMIT_S_MAX = 20,          // store and queue together; then the client hears 503
    GATEWAY_LOOK_MS_MIN =
        1000,                  // first look into the store for a job that another gateway took in;
                               // each pause is twice the one before: four looks in the longest wait
    GATEWAY_TELLS_MAX = 10000, // waits at other gateways for jobs of this one; a look for each
    GATEWAY_LAST_LOOK_S_MAX = 5,           // for the store, when a wait has ended
    GATEWAY_DRAIN_S_MAX = 10,              // for submissions that run when TERM comes
    GATEWAY_RESULT_BYTES_MAX = 1 << 20,    // results/ID.json; ours have some hundred bytes
    GATEWAY_OVERHEAD_BYTES_MAX = 64 << 10, // of a multipart body around its picture
    GATEWAY_BODIES_BYTES_MAX =
        256 << 20,                // uploads in memory, together: 1,300 of 200 KB, 8 of the largest
    GATEWAY_BACKOFF_MS_MIN = 100, // between tries to reach bucket and queues, doubling
    GATEWAY_BACKOFF_MS_MAX = 5000,
};

#define S3_OBJECT_BYTES_MAX GIB(5)
#define S3_CATALOG_BYTES_MAX GIB(64) // address space, not memory or disk; ~60 million objects
#define MODEL_FILE_BYTES_MAX GIB(2)
#define MODEL_LOAD_EXTRA_BYTES MIB(256) // memory while loading, beyond twice the file's size
#define MODEL_GFLOP_MAX 1e5             // one picture; ViT-G is 6e3
