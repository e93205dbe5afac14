// Who may do what: the owner's account everything that no policy denies; other accounts what a
// queue's policy allows them, and nothing that is about the account or the policy itself.
#include "sqs/call.h"
#include "sqs/policy.h"

#include <string.h>

// The permission that an action needs. NULL: one that cannot be given to another account.
static const char *permission_of(enum sqs_action action)
{
    switch (action) {
    case ACTION_SEND:
    case ACTION_SEND_BATCH:
        return "SendMessage";
    case ACTION_PEEK: // who may not receive may not look
    case ACTION_RECEIVE:
        return "ReceiveMessage";
    case ACTION_DELETE_MESSAGE:
    case ACTION_DELETE_MESSAGE_BATCH:
        return "DeleteMessage";
    case ACTION_CHANGE_VISIBILITY:
    case ACTION_CHANGE_VISIBILITY_BATCH:
        return "ChangeMessageVisibility";
    case ACTION_GET_URL:
    case ACTION_GET_ATTRIBUTES:
    case ACTION_PURGE:
    case ACTION_LIST_SOURCES:
        return action_name(action);
    default:
        return NULL;
    }
}

static bool is_owner(const struct sqs_call *c)
{
    return c->account == NULL || strcmp(c->account, SQS_ACCOUNT) == 0;
}

// Its root can always mend a policy that denies everything.
static bool is_mending(const struct sqs_call *c)
{
    bool root = is_owner(c) && (c->user == NULL || c->user[0] == '\0');
    return root &&
           (c->in.action == ACTION_GET_ATTRIBUTES || c->in.action == ACTION_SET_ATTRIBUTES ||
            c->in.action == ACTION_REMOVE_PERMISSION);
}

static enum sqs_code access_denied(struct sqs_call *c, const struct policy_request *r,
                                   bool explicitly)
{
    AUTO_BUF struct buf who = {0};
    char action[40];
    size_t len = strlen(r->action);
    for (size_t i = 0; i <= len && i < sizeof action; i++)
        action[i] =
            (char)(r->action[i] >= 'A' && r->action[i] <= 'Z' ? r->action[i] | 0x20 : r->action[i]);
    policy_principal_arn(r, &who);
    if (explicitly)
        return fault(&c->fault, SQS_ACCESS_DENIED,
                     "User: %s is not authorized to perform: sqs:%s on resource: %s with an "
                     "explicit deny in a resource-based policy",
                     who.data, action, r->resource);
    return fault(&c->fault, SQS_ACCESS_DENIED,
                 "User: %s is not authorized to perform: sqs:%s on resource: %s because no "
                 "resource-based policy allows the sqs:%s action",
                 who.data, action, r->resource, action);
}

enum sqs_code call_authorize(struct sqs_call *c, struct queue *q)
{
    const struct json_t *policy = q != NULL ? queue_policy(q) : NULL;
    const char *permission = permission_of(c->in.action);
    AUTO_BUF struct buf arn = {0};
    if (is_owner(c) && (policy == NULL || is_mending(c)))
        return SQS_OK;
    struct queue_info info = {.name = "*"};
    if (q != NULL)
        queue_info(c->queues, q, &info);
    call_queue_arn(c, info.name, &arn);
    const struct policy_request request = {
        .account = c->account != NULL ? c->account : SQS_ACCOUNT,
        .user = c->user != NULL ? c->user : "",
        .action = permission != NULL ? permission : action_name(c->in.action),
        .resource = arn.data,
        .peer = c->peer != NULL ? c->peer : "",
    };
    enum policy_verdict verdict = policy != NULL ? policy_decide(policy, &request) : POLICY_SILENT;
    if (verdict == POLICY_DENIES)
        return access_denied(c, &request, true);
    if (is_owner(c) || (permission != NULL && verdict == POLICY_ALLOWS))
        return SQS_OK;
    return access_denied(c, &request, false);
}

enum sqs_code call_authorize_account(struct sqs_call *c)
{
    return is_owner(c) || permission_of(c->in.action) != NULL ? SQS_OK : call_authorize(c, NULL);
}
