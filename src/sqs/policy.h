// A queue's access policy (the Policy attribute): read, checked, and asked. Pure.
// Source: IAM user guide, "Policy evaluation logic" and "JSON policy elements reference"; Amazon
// SQS developer guide, "Custom policies".
//
// Supported conditions: String…, Arn…, Bool, Null, IpAddress and NotIpAddress, with …IfExists, on
// aws:PrincipalAccount, aws:PrincipalArn, aws:username, aws:SourceIp, aws:SecureTransport. Other
// keys are absent from every request here; other operators are refused when the policy is set.
#pragma once

#include "base/arena.h"
#include "sqs/fault.h"

struct json_t; // jansson's

enum {
    POLICY_STATEMENTS_MAX = 20,
    POLICY_PRINCIPALS_MAX = 50,
    POLICY_CONDITIONS_MAX = 10,
};

struct policy_request {
    const char *account;  // 12 digits, of who asks
    const char *user;     // "" for the account's root
    const char *action;   // "SendMessage"
    const char *resource; // ARN of the queue
    const char *peer;     // IP address
};

enum policy_verdict { POLICY_SILENT, POLICY_ALLOWS, POLICY_DENIES };

// InvalidAttributeValue with what is wrong and where. *out, if not NULL, is the caller's
// (json_decref).
enum sqs_code policy_parse(struct span text, struct json_t **out, struct fault *f);
// policy: from policy_parse. A statement that denies counts more than all that allow.
enum policy_verdict policy_decide(const struct json_t *policy,
                                  const struct policy_request *request);
// "arn:aws:iam::ACCOUNT:root" or "…:user/NAME"
void policy_principal_arn(const struct policy_request *request, struct buf *out);
