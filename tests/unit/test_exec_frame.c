// Frames of program handlers: what is read, what is refused and why, at every cut.
#include "worker/exec_frame.h"

#include "suite.h"

#include <string.h>

static enum err read_text(struct span text, struct exec_answer *out, size_t *used,
                          struct error *error)
{
    *out = (struct exec_answer){0};
    *error = (struct error){0};
    return exec_answer_read(text, out, used, error);
}

START_TEST(answers_come_whole_or_not_at_all)
{
    static const struct {
        const char *bytes;
        enum exec_word word;
        const char *text;
    } cases[] = {
        {"ready\n", EXEC_READY, ""},
        {"result 2\n{}", EXEC_RESULT, "{}"},
        {"result 14\n{\"a\":[1,\"\\n\"]}", EXEC_RESULT, "{\"a\":[1,\"\\n\"]}"},
        {"failed 3\nbad", EXEC_FAILED, "bad"},
        {"failed 0\n", EXEC_FAILED, ""},
        {"retry 5\nlater", EXEC_RETRY, "later"},
    };
    struct exec_answer got;
    struct error error;
    size_t used;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct span all = span_from(cases[i].bytes);
        for (size_t cut = 0; cut < all.len; cut++) {
            ck_assert_int_eq(read_text((struct span){all.data, cut}, &got, &used, &error), OK);
            ck_assert_uint_eq(used, 0);
        }
        AUTO_BUF struct buf more = {0};
        buf_add_span(&more, all);
        buf_add_text(&more, "x"); // what follows is not its business
        ck_assert_int_eq(read_text(buf_view(&more), &got, &used, &error), OK);
        ck_assert_uint_eq(used, all.len);
        ck_assert_int_eq((int)got.word, (int)cases[i].word);
        ck_assert(span_is(got.text, cases[i].text));
    }
}
END_TEST

START_TEST(lies_are_refused_with_a_reason)
{
    static const struct {
        const char *bytes, *why;
    } cases[] = {
        {"loading the model\n", "wrote \"loading the model"},
        {"a line without an end that goes on and on", "standard output is for answers"},
        {"\n", "standard output"},
        {"ready 0\n", "standard output"},
        {"result\n{}", "standard output"},
        {"result -1\n", "standard output"},
        {"result 2 \n{}", "standard output"},
        {"result 0x2\n{}", "standard output"},
        {"Result 2\n{}", "standard output"},
        {"result 99999999\n", "99999999 bytes"},
        {"failed 65537\n", "the limit is 65536"},
        {"result 99999999999999999999999\n", "standard output"},
        {"result 0\n", "not JSON"},
        {"result 1\n{", "not JSON"},
        {"result 2\n[]", "not an object"},
        {"result 4\nnull", "not"},
        {"result 13\n{\"a\":1,\"a\":2}", "duplicate"},
        {"result 9\n{\"a\":NaN}", "not JSON"},
    };
    struct exec_answer got;
    struct error error;
    size_t used;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_msg(read_text(span_from(cases[i].bytes), &got, &used, &error) != OK, "%s",
                      cases[i].bytes);
        ck_assert_msg(strstr(error.msg, cases[i].why) != NULL, "'%s' not in '%s'", cases[i].why,
                      error.msg);
        ck_assert_uint_eq(used, 0);
    }
}
END_TEST

START_TEST(a_job_is_a_line_and_its_json)
{
    AUTO_BUF struct buf out = {0};
    exec_job_write(SPAN("{\"id\":\"a\"}"), 1234, &out);
    ck_assert_str_eq(out.data, "job 10 1234\n{\"id\":\"a\"}");
}
END_TEST

SUITE_MAIN("exec_frame", answers_come_whole_or_not_at_all, lies_are_refused_with_a_reason,
           a_job_is_a_line_and_its_json)
