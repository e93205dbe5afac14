#include "aws/credentials.h"

#include "aws/sigv4.h"
#include "base/file.h"

#include "suite.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static const char *in_dir(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = in_dir(name);
    ck_assert_int_eq(file_replace(path, span_from(text), 0600, NULL), OK);
    return path;
}

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/smelt-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",           "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",           "AWS_PROFILE",
                                        "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("HOME", dir, 1);
}

static void teardown(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(shared_file_is_read)
{
    struct credentials c;
    struct error error;
    setup();
    const char *path =
        write_file("a", "# comment\n; another\n\r\n[default]\r\n"
                        "aws_access_key_id = AKID1\r\n"
                        "  aws_secret_access_key=secret/with=equals+ # said inline\n"
                        "region = eu-west-1\n"
                        "s3 =\n  addressing_style = path\n  aws_access_key_id = nested\n"
                        "[profile other one]\nAWS_ACCESS_KEY_ID=AKID2\n"
                        "aws_secret_access_key = a#b\naws_session_token = tok\n"
                        "[empty]\nregion = x\n");
    ck_assert_int_eq(credentials_read(path, "default", &c, &error), OK);
    ck_assert_str_eq(c.access_key, "AKID1");
    ck_assert_str_eq(c.secret_key, "secret/with=equals+");
    ck_assert_str_eq(c.session_token, "");
    ck_assert_int_eq(c.expires_wall_ms, 0);
    ck_assert_int_eq(credentials_read(path, "other one", &c, &error), OK);
    ck_assert_str_eq(c.access_key, "AKID2");
    ck_assert_str_eq(c.secret_key, "a#b");
    ck_assert_str_eq(c.session_token, "tok");
    ck_assert_int_eq(credentials_read(path, "empty", &c, &error), ERR_NOT_FOUND);
    ck_assert_int_eq(credentials_read(path, "absent", &c, &error), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.msg, "[absent]"));
    ck_assert_int_eq(credentials_read(in_dir("no"), "default", &c, &error), ERR_NOT_FOUND);
    teardown();
}
END_TEST

START_TEST(broken_files_are_explained)
{
    struct credentials c;
    struct error error;
    char long_key[300] = "[default]\naws_access_key_id = ";
    setup();
    memset(long_key + strlen(long_key), 'A', 200);
    struct {
        const char *text, *says;
    } cases[] = {{"[default\nx=y\n", ":1: the [section] is not closed"},
                 {"[default]\n\naws_access_key_id\n", ":3: there is no '='"},
                 {long_key, ":2: aws_access_key_id is longer than"},
                 {"[default]\naws_access_key_id=A\n", "only one of"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = write_file("b", cases[i].text);
        ck_assert_int_eq(credentials_read(path, "default", &c, &error), ERR_FORMAT);
        ck_assert_msg(strstr(error.msg, cases[i].says) != NULL, "%s", error.msg);
    }
    teardown();
}
END_TEST

START_TEST(created_once_and_private)
{
    struct credentials first, again;
    struct error error;
    struct stat st;
    struct keyring *k;
    setup();
    const char *path = in_dir("credentials");
    ck_assert_int_eq(credentials_create(path, &error), OK);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ck_assert_uint_eq(st.st_nlink, 1);
    ck_assert_int_eq(credentials_read(path, "default", &first, &error), OK);
    ck_assert_uint_eq(strlen(first.access_key), 20);
    ck_assert(strncmp(first.access_key, "SMELT", 5) == 0);
    for (const char *p = first.access_key; *p != '\0'; p++)
        ck_assert(isupper((unsigned char)*p) || isdigit((unsigned char)*p));
    ck_assert_uint_eq(strlen(first.secret_key), 40);
    ck_assert_int_eq(credentials_create(path, &error), OK); // there: stays
    ck_assert_int_eq(credentials_read(path, "default", &again, &error), OK);
    ck_assert_str_eq(first.secret_key, again.secret_key);
    ck_assert_int_eq(keyring_open(path, &k, &error), OK);
    keyring_free(k);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(credentials_create(path, &error), ERR_DENIED);
    ck_assert_int_eq(keyring_open(path, &k, &error), ERR_DENIED);
    ck_assert_int_eq(credentials_create(in_dir("no/such/place"), &error), ERR_NOT_FOUND);
    write_file("none", "[default]\nregion=x\n");
    ck_assert_int_eq(keyring_open(in_dir("none"), &k, &error), ERR_NOT_FOUND);
    teardown();
}
END_TEST

SUITE_MAIN("credentials", shared_file_is_read, broken_files_are_explained, created_once_and_private)
