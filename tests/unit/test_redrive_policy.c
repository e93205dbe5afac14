#include "aws/redrive_policy.h"
#include "suite.h"

static void expect(const char *policy, const char *name, int receives)
{
    char out[QUEUE_NAME_SIZE];
    int count = -1;
    ck_assert_str_eq(redrive_policy_read(policy, out, &count), name);
    ck_assert_int_eq(count, receives);
}

START_TEST(a_policy_names_queue_and_receives)
{
    expect("{\"deadLetterTargetArn\":\"arn:aws:sqs:eu-west-1:1:dead\",\"maxReceiveCount\":3}",
           "dead", 3);
    expect(
        "{\"deadLetterTargetArn\":\"arn:aws:sqs:eu-west-1:1:dead\",\"maxReceiveCount\":\"1000\"}",
        "dead", 1000);
}
END_TEST

START_TEST(nonsense_is_no_policy)
{
    expect(NULL, "", 0);
    expect("", "", 0);
    expect("[]", "", 0);
    expect("{\"deadLetterTargetArn\":7,\"maxReceiveCount\":0}", "", 0);
    expect("{\"deadLetterTargetArn\":\"dead\",\"maxReceiveCount\":1001}", "", 0);
    expect("{\"deadLetterTargetArn\":\"arn:dead\",\"maxReceiveCount\":\"many\"}", "dead", 0);
}
END_TEST

SUITE_MAIN("redrive_policy", a_policy_names_queue_and_receives, nonsense_is_no_policy)
