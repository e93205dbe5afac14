#include "engine/package_default.h"
#include "engine/package_draft.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/smelt-draft-XXXXXX"; // of this test
static char target[100], hidden[100];

static void make_root(void)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(target, sizeof target, "%s/models/xception", root);
    snprintf(hidden, sizeof hidden, "%s/models/.xception.new", root);
}

static void remove_root(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

static bool has(const char *folder, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void write_one(const char *name, bool replace, enum err err)
{
    struct package_draft d;
    struct error error = {0};
    ck_assert_msg(package_draft_open(target, replace, &d, &error) == OK, "%s", error.msg);
    ck_assert_int_eq(package_draft_add(&d, name, SPAN("{}"), &error), OK);
    ck_assert(has(hidden, name) && !has(target, name));
    ck_assert_int_eq(package_draft_commit(&d, &error), err);
    package_draft_release(&d);
    ck_assert_int_ne(access(hidden, F_OK), 0);
}

START_TEST(test_there_as_a_whole_or_not_at_all)
{
    struct package_draft d, other;
    struct error error = {0};
    struct stat st;
    make_root();
    ck_assert_int_eq(package_draft_open(target, false, &d, &error), OK);
    ck_assert_int_eq(package_draft_add(&d, "smelt.json", SPAN("{}"), &error), OK);
    ck_assert_int_eq(package_draft_open(target, false, &other, &error), ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(error.msg, "another smelt is writing"));
    package_draft_release(&d); // given up
    ck_assert(access(hidden, F_OK) != 0 && access(target, F_OK) != 0);
    write_one("smelt.json", false, OK);
    ck_assert(has(target, "smelt.json") && stat(target, &st) == 0 && (st.st_mode & 0777) == 0755);
    ck_assert_int_eq(package_draft_open(target, false, &d, &error), ERR_EXISTS);
    write_one("other.json", true, OK);
    ck_assert(has(target, "other.json") && !has(target, "smelt.json"));
    remove_root();
}
END_TEST

START_TEST(test_leftovers_are_swept_and_latecomers_refused)
{
    struct package_draft d;
    struct error error = {0};
    char path[200];
    make_root();
    ck_assert_int_eq(package_draft_open(target, false, &d, &error), OK);
    ck_assert_int_eq(package_draft_add(&d, "half", SPAN("x"), &error), OK);
    close(d.temp_fd); // killed here
    free(d.name);
    free(d.folder);
    free(d.temp);
    write_one("smelt.json", false, OK);
    ck_assert(!has(target, "half"));
    remove_root();
    strcpy(root + strlen(root) - 6, "XXXXXX");
    make_root();
    ck_assert_int_eq(package_draft_open(target, false, &d, &error), OK);
    ck_assert_int_eq(mkdir(target, 0700), 0); // somebody else's meanwhile, with something in it
    snprintf(path, sizeof path, "%s/theirs", target);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(package_draft_commit(&d, &error), ERR_EXISTS);
    package_draft_release(&d);
    ck_assert(has(target, "theirs") && access(hidden, F_OK) != 0);
    remove_root();
}
END_TEST

START_TEST(test_names_and_paths)
{
    static const struct {
        const char *folder, *name;
    } cases[] = {{"xception", "xception"},
                 {"/a/b-1.2_c//", "b-1.2_c"},
                 {"a b", NULL},
                 {"", NULL},
                 {"/", NULL},
                 {"x/.hidden", NULL},
                 {"x/..", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *name = package_name_of(cases[i].folder);
        ck_assert(name == NULL ? cases[i].name == NULL : cases[i].name != NULL);
        if (name != NULL)
            ck_assert_str_eq(name, cases[i].name);
        free(name);
    }
}
END_TEST

START_TEST(test_xception_is_the_default_once_it_is_there)
{
    char search_path[300];
    make_root();
    snprintf(search_path, sizeof search_path, "/nowhere::%s/models", root);
    ck_assert_str_eq(package_default_name(search_path), "demo");
    write_one("model.onnx", false, OK); // no package yet
    ck_assert_str_eq(package_default_name(search_path), "demo");
    write_one("smelt.json", true, OK);
    ck_assert_str_eq(package_default_name(search_path), "xception");
    ck_assert_str_eq(package_default_name(""), "demo");
    remove_root();
}
END_TEST

SUITE_MAIN("package_draft", test_there_as_a_whole_or_not_at_all,
           test_leftovers_are_swept_and_latecomers_refused, test_names_and_paths,
           test_xception_is_the_default_once_it_is_there)
