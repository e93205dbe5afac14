// The table of operators against itself and against docs/engine.md.
#include "base/file.h"
#include "base/limits.h"
#include "engine/ops.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>

START_TEST(entries_are_whole)
{
    size_t count;
    const struct op *ops = op_table(&count);
    ck_assert_uint_gt(count, 30);
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(ops[i].shape != NULL && ops[i].plain != NULL, "%s", ops[i].name);
        ck_assert_int_le(ops[i].inputs_min, ops[i].inputs_max);
        ck_assert_int_le(ops[i].since, ops[i].until);
        if (i == 0)
            continue;
        int order = strcmp(ops[i - 1].name, ops[i].name);
        ck_assert_msg(order < 0 || (order == 0 && ops[i - 1].until < ops[i].since), "%s",
                      ops[i].name);
    }
}
END_TEST

START_TEST(each_opset_finds_its_entry)
{
    for (int opset = MODEL_OPSET_MIN; opset <= MODEL_OPSET_MAX; opset++) {
        const struct op *clip = op_find("Clip", opset);
        ck_assert_ptr_nonnull(clip);
        ck_assert_int_eq(clip->inputs_max, opset < 11 ? 1 : 3);
    }
    ck_assert_ptr_null(op_find("HardSwish", 13));
    ck_assert_ptr_null(op_find("Con", 13));
    ck_assert_ptr_null(op_find("", 13));
}
END_TEST

START_TEST(the_documentation_lists_the_same)
{
    struct buf doc = {0};
    struct error error;
    size_t count, rows = 0, names = 0;
    const struct op *ops = op_table(&count);
    ck_assert_msg(file_read("docs/engine.md", 1 << 20, &doc, &error) == OK, "%s", error.msg);
    for (size_t i = 0; i < count; i++) {
        char row[80];
        if (i > 0 && strcmp(ops[i].name, ops[i - 1].name) == 0)
            continue; // a later opset of the same: the row says since when it is read
        snprintf(row, sizeof row, "| %s | %d– |", ops[i].name, ops[i].since);
        ck_assert_msg(strstr(doc.data, row) != NULL, "docs/engine.md lacks '%s'", row);
        names++;
    }
    for (const char *p = doc.data; (p = strstr(p, "– |")) != NULL; p++)
        rows++;
    ck_assert_uint_eq(rows, names); // nothing is claimed that is not there
    buf_release(&doc);
}
END_TEST

SUITE_MAIN("ops", entries_are_whole, each_opset_finds_its_entry, the_documentation_lists_the_same)
