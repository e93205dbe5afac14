// Where keys come from, and how they are fetched again: against fakes of STS, the container's agent
// and instance metadata in the same loop, and programs that print keys.
#include "aws/keys.h"

#include "aws/endpoint.h"
#include "aws/keys_internal.h"
#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "http/server.h"

#include "suite.h"
#include "temp_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct loop *loop;
static struct http_client *http;
static struct http_server *server;
static struct keys *keys;
static char dir[64], url[80];
static int requests, status = 200, lives_s = 3600;
static char last[9000]; // "METHOD path\nheaders\nbody"
static bool silent, doctype;

static const char *in_dir(const char *name)
{
    static char paths[8][160];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = in_dir(name);
    ck_assert_int_eq(file_replace(path, span_from(text), 0600, NULL), OK);
    return path;
}

// --- the fakes: one server is all of them ---

static enum http_body on_head(void *ctx, struct http_request *r)
{
    (void)ctx;
    r->body_limit_bytes = 1 << 16;
    return HTTP_BODY_BUFFER;
}

static void answer(struct http_request *r, const char *text)
{
    http_reply(r, status, NULL, 0, span_from(text));
}

static void on_request(void *ctx, struct http_request *r)
{
    AUTO_BUF struct buf out = {0}, text = {0};
    char until[CLOCK_ISO_BYTES];
    (void)ctx;
    requests++;
    buf_printf(&text, "%s %.*s\n", r->method, (int)r->target_path.len, r->target_path.data);
    for (size_t i = 0; i < r->header_count; i++)
        buf_printf(&text, "%.*s: %.*s\n", (int)r->headers[i].name.len, r->headers[i].name.data,
                   (int)r->headers[i].value.len, r->headers[i].value.data);
    buf_add_span(&text, r->body);
    snprintf(last, sizeof last, "%s", text.data);
    clock_iso8601(clock_wall_ms() + lives_s * 1000LL, until);
    if (silent)
        return;
    if (span_is(r->target_path, "/latest/api/token"))
        buf_add_text(&out, "metadata-token");
    else if (span_is(r->target_path, "/latest/meta-data/iam/security-credentials/"))
        buf_add_text(&out, "the-role\n");
    else if (memmem(r->body.data, r->body.len, "Action=", 7) != NULL)
        buf_printf(&out,
                   "%s<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
                   "<AssumeRoleResult><Credentials><AccessKeyId>STS%d</AccessKeyId>"
                   "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
                   "<Expiration>%s</Expiration></Credentials></AssumeRoleResult>"
                   "</AssumeRoleResponse>",
                   doctype ? "<!DOCTYPE x>" : "", requests, until);
    else
        buf_printf(&out,
                   "{\"Code\":\"Success\",\"AccessKeyId\":\"K%d\",\"SecretAccessKey\":\"s\","
                   "\"Token\":\"t\",\"Expiration\":\"%s\"}",
                   requests, until);
    answer(r, out.data);
}

static void on_done(void *ctx, struct http_request *r)
{
    (void)ctx;
    (void)r;
}

static void setup(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_DEFAULT_PROFILE",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_CONFIG_FILE",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_ENDPOINT_URL",
                                        "AWS_ENDPOINT_URL_SQS",
                                        "AWS_ENDPOINT_URL_S3",
                                        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                        "AWS_USE_FIPS_ENDPOINT",
                                        "AWS_USE_DUALSTACK_ENDPOINT"};
    const struct http_server_config config = {.listen = "127.0.0.1:0", .body_limit_bytes = 1 << 16};
    const struct http_handlers handlers = {
        .on_head = on_head, .on_request = on_request, .on_done = on_done};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    temp_dir_make(dir);
    setenv("HOME", dir, 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    ck_assert_int_eq(mkdir(in_dir(".aws"), 0700), 0);
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    ck_assert_int_eq(http_client_new(loop, NULL, &http, NULL), OK);
    ck_assert_int_eq(http_server_new(loop, &config, &handlers, &server, NULL), OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", http_server_port(server));
    setenv("AWS_ENDPOINT_URL_STS", url, 1);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url, 1);
}

static void teardown(void)
{
    keys_close(keys);
    http_client_free(http);
    http_server_free(server);
    loop_free(loop);
    temp_dir_remove(dir);
}

static enum err open_keys(struct error *error)
{
    keys_close(keys);
    keys = NULL;
    const struct keys_config config = {.loop = loop, .http = http, .data_file = in_dir("data")};
    enum err err = keys_open(&config, &keys, error);
    return err == OK ? keys_first(keys, error) : err;
}

static void expect_key(const char *access_key)
{
    struct error error = {0};
    enum err err = open_keys(&error);
    ck_assert_msg(err == OK, "%s", error.msg);
    const struct credentials *now = keys_now(keys);
    ck_assert_ptr_nonnull(now);
    ck_assert_str_eq(now->access_key, access_key);
}

static void expect_refusal(enum err code, const char *says)
{
    struct error error = {0};
    enum err err = open_keys(&error);
    ck_assert_msg(err == code, "%d: %s", (int)err, error.msg);
    ck_assert_msg(strstr(error.msg, says) != NULL, "%s", error.msg);
}

// --- places ---

START_TEST(places_in_their_order)
{
    char text[200];
    setup();
    expect_refusal(ERR_NOT_FOUND, "no AWS keys found; looked at AWS_ACCESS_KEY_ID (not set)");
    expect_refusal(ERR_NOT_FOUND, "AWS_WEB_IDENTITY_TOKEN_FILE (not set), [default] of /");
    expect_refusal(ERR_NOT_FOUND, "/.aws/config, /");
    expect_refusal(ERR_NOT_FOUND, "/data (not there), AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    expect_refusal(ERR_NOT_FOUND, "instance metadata (AWS_EC2_METADATA_DISABLED is true)");

    unsetenv("AWS_EC2_METADATA_DISABLED");
    expect_key("K3"); // token, list, keys
    snprintf(text, sizeof text, "%s/creds", url);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", text, 1);
    expect_key("K4");
    write_file("data", "[default]\naws_access_key_id=DATA\naws_secret_access_key=s\n");
    expect_key("DATA");
    ck_assert_int_eq(chmod(in_dir("data"), 0644), 0);
    expect_refusal(ERR_DENIED, "chmod 600");
    write_file(".aws/config", "[default]\nregion=eu-west-1\naws_access_key_id=CONF\n"
                              "aws_secret_access_key=s\n");
    expect_key("CONF");
    write_file(".aws/credentials", "[default]\naws_access_key_id=SHARED\naws_secret_access_key=s\n"
                                   "[p]\naws_access_key_id=P\naws_secret_access_key=s\n");
    expect_key("SHARED");
    setenv("AWS_DEFAULT_PROFILE", "p", 1);
    expect_key("P");
    setenv("AWS_PROFILE", "absent", 1);
    expect_refusal(ERR_NOT_FOUND, "AWS_PROFILE is 'absent': there is no such profile");
    setenv("AWS_PROFILE", "default", 1);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write_file("token", "jwt\n"), 1);
    expect_refusal(ERR_ARGUMENT, "AWS_ROLE_ARN");
    setenv("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/r", 1);
    expect_key("STS5");
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    expect_refusal(ERR_ARGUMENT, "only one of");
    setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    expect_key("ENV");
    setenv("AWS_ACCESS_KEY_ID", "E\nV", 1);
    expect_refusal(ERR_FORMAT, "AWS_ACCESS_KEY_ID has a character");
    teardown();
}
END_TEST

START_TEST(profiles_and_roles)
{
    setup();
    write_file(".aws/config",
               "[default]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = base\n"
               "external_id = x/y\nduration_seconds = 900\nrole_session_name = me\n"
               "[profile base]\naws_access_key_id=BASE\naws_secret_access_key=secret\n"
               "[profile nobase]\nrole_arn = a\n"
               "[profile circle]\nrole_arn = a\nsource_profile = circle2\n"
               "[profile circle2]\nrole_arn = a\nsource_profile = circle\n"
               "[profile env]\nrole_arn = a\ncredential_source = Environment\n"
               "[profile mfa]\nrole_arn = a\nmfa_serial = m\nsource_profile = base\n"
               "[profile sso]\nsso_session = s\n"
               "[profile self]\nrole_arn = a\nsource_profile = self\naws_access_key_id=SELF\n"
               "aws_secret_access_key=secret\n");
    expect_key("STS1");
    ck_assert_ptr_nonnull(strstr(last, "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws"));
    ck_assert_ptr_nonnull(strstr(last, "RoleSessionName=me&DurationSeconds=900&ExternalId=x%2Fy"));
    ck_assert_ptr_nonnull(strstr(last, "Credential=BASE/"));
    ck_assert_ptr_nonnull(strstr(last, "/us-east-1/sts/aws4_request"));
    setenv("AWS_PROFILE", "self", 1);
    expect_key("STS2");
    ck_assert_ptr_nonnull(strstr(last, "Credential=SELF/"));
    const struct {
        const char *profile;
        enum err err;
        const char *says;
    } cases[] = {{"nobase", ERR_FORMAT, "it needs source_profile"},
                 {"circle", ERR_LIMIT, "source_profile in a row"},
                 {"env", ERR_NOT_FOUND, "AWS_ACCESS_KEY_ID (not set)"},
                 {"mfa", ERR_UNSUPPORTED, "mfa_serial"},
                 {"sso", ERR_UNSUPPORTED, "export-credentials --profile sso"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("AWS_PROFILE", cases[i].profile, 1);
        expect_refusal(cases[i].err, cases[i].says);
    }
    teardown();
}
END_TEST

START_TEST(a_program_prints_keys)
{
    setup();
    const struct {
        const char *command;
        enum err err; // OK: says is the key
        const char *says;
    } cases[] = {
        {"echo '{\"Version\":1,\"AccessKeyId\":\"PROC\",\"SecretAccessKey\":\"s\"}'", OK, "PROC"},
        {"echo '{\"Version\":2,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\"}'", ERR_UNSUPPORTED,
         "\"Version\": 1"},
        {"echo '{\"Version\":1,\"AccessKeyId\":\"A\"}'", ERR_FORMAT, "has no SecretAccessKey"},
        {"echo '{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\","
         "\"Expiration\":\"soon\"}'",
         ERR_FORMAT, "'soon' is not like"},
        {"echo nonsense", ERR_FORMAT, "is not JSON"},
        {"true", ERR_FORMAT, "is not JSON"},
        {"echo no ticket >&2; exit 3", ERR_DENIED, "exit code 3: no ticket"},
        {"/no/such/program", ERR_DENIED, "exit code 127"},
        {"kill -9 $$", ERR_DENIED, "signal 9"},
        {"head -c 100000 /dev/zero", ERR_LIMIT, "it printed over 65536 bytes"},
        {"yes", ERR_LIMIT, "it printed over 65536 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[400];
        snprintf(text, sizeof text, "[default]\ncredential_process = %s\n", cases[i].command);
        write_file(".aws/config", text);
        if (cases[i].err == OK)
            expect_key(cases[i].says);
        else
            expect_refusal(cases[i].err, cases[i].says);
    }
    teardown();
}
END_TEST

START_TEST(container_rules)
{
    const struct {
        const char *relative, *full;
        enum err err;
        const char *gives; // the address, or a part of the refusal
    } cases[] = {
        {"/v2/credentials/x", NULL, OK, "http://169.254.170.2/v2/credentials/x"},
        {"/x", "http://evil.example/", OK, "http://169.254.170.2/x"},
        {"evil.example/x", NULL, ERR_ARGUMENT, "must begin with /"},
        {"@evil.example/x", NULL, ERR_ARGUMENT, "must begin with /"},
        {NULL, "http://169.254.170.23/v1/credentials", OK, "http://169.254.170.23/v1/credentials"},
        {NULL, "http://[fd00:ec2::23]/v1", OK, "http://[fd00:ec2::23]/v1"},
        {NULL, "http://[::1]:8080/", OK, "http://[::1]:8080/"},
        {NULL, "http://127.9.9.9/", OK, "http://127.9.9.9/"},
        {NULL, "http://localhost:1/", OK, "http://localhost:1/"},
        {NULL, "https://anywhere.example/x", OK, "https://anywhere.example/x"},
        {NULL, "http://anywhere.example/x", ERR_DENIED, "plain HTTP"},
        {NULL, "http://127.0.0.1.example/x", ERR_DENIED, "plain HTTP"},
        {NULL, "http://127.0.0/x", ERR_DENIED, "plain HTTP"},
        {NULL, "http://169.254.169.254/x", ERR_DENIED, "plain HTTP"},
        {NULL, "http://user@169.254.170.2/x", ERR_ARGUMENT, "user name"},
        {NULL, "file:///etc/passwd", ERR_ARGUMENT, "does not start with"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf out = {0};
        struct error error = {0};
        ck_assert_int_eq(keys_container_url(cases[i].relative, cases[i].full, &out, &error),
                         cases[i].err);
        if (cases[i].err == OK)
            ck_assert_str_eq(out.data, cases[i].gives);
        else
            ck_assert_msg(strstr(error.msg, cases[i].gives) != NULL, "%s", error.msg);
    }
}
END_TEST

START_TEST(container_token)
{
    char text[200];
    setup();
    snprintf(text, sizeof text, "%s/creds", url);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", text, 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc", 1);
    expect_key("K1");
    ck_assert_ptr_nonnull(strstr(last, "Authorization: Basic abc\n"));
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", write_file("tok", "from-file\n"), 1);
    expect_key("K2");
    ck_assert_ptr_nonnull(strstr(last, "Authorization: from-file\n"));
    write_file("tok", "a\nX-Evil: b\n");
    expect_refusal(ERR_FORMAT, "TOKEN_FILE has a character");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", in_dir("gone"), 1);
    expect_refusal(ERR_NOT_FOUND, "gone");
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    status = 403; // with a body that is no error: it is not shown
    struct error error;
    ck_assert_int_eq(open_keys(&error), ERR_DENIED);
    ck_assert_str_eq(error.msg, "keys from the container's credentials: status 403");
    teardown();
}
END_TEST

START_TEST(sts_answers_are_read_with_care)
{
    struct credentials c;
    struct error error;
    static const char fine[] =
        "<R><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S"
        "</SecretAccessKey><SessionToken>T</SessionToken><Expiration>2026-01-31T12:00:00Z"
        "</Expiration></Credentials></AssumeRoleResult></R>";
    ck_assert_int_eq(keys_read_sts(span_from(fine), &c, &error), OK);
    ck_assert_str_eq(c.session_token, "T");
    ck_assert_int_eq(c.expires_wall_ms, 1769860800000);
    for (size_t len = 0; len + 1 < sizeof fine; len++) // never by halves
        ck_assert_int_eq(keys_read_sts((struct span){fine, len}, &c, &error), ERR_FORMAT);
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"<!DOCTYPE r [<!ENTITY e 'x'>]><R/>", "DOCTYPE"},
        {"<R/>", "no Credentials"},
        {"<R><X><Credentials><AccessKeyId>A</AccessKeyId></Credentials></X></R>",
         "has no SecretAccessKey"},
        {"<R><X><Credentials><AccessKeyId>A&#10;B</AccessKeyId></Credentials></X></R>",
         "AccessKeyId has a character"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(keys_read_sts(span_from(cases[i].text), &c, &error), ERR_FORMAT);
        ck_assert_msg(strstr(error.msg, cases[i].says) != NULL, "%s", error.msg);
        ck_assert_str_eq(c.access_key, "");
    }
    setup();
    doctype = true;
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write_file("token", "jwt\n"), 1);
    setenv("AWS_ROLE_ARN", "arn", 1);
    expect_refusal(ERR_FORMAT, "DOCTYPE");
    ck_assert_ptr_nonnull(strstr(last, "Action=AssumeRoleWithWebIdentity"));
    ck_assert_ptr_nonnull(strstr(last, "&WebIdentityToken=jwt"));
    ck_assert_ptr_null(strstr(last, "Authorization"));
    write_file("token", "\n");
    expect_refusal(ERR_FORMAT, "is empty");
    teardown();
}
END_TEST

// --- refresh ---

static int told, told_badly;

static void on_told(void *ctx, const struct error *error)
{
    (void)ctx;
    told++;
    told_badly += error != NULL;
    if (told == 3)
        loop_stop(loop);
}

static void stop_loop(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

static void run_for(int ms)
{
    struct timer timer = {0};
    loop_timer_set(loop, &timer, clock_monotonic_ms() + ms, stop_loop, NULL);
    ck_assert_int_eq(loop_run(loop, NULL), OK);
    loop_timer_cancel(loop, &timer);
}

static void use_container(void)
{
    char text[200];
    setup();
    snprintf(text, sizeof text, "%s/creds", url);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", text, 1);
}

START_TEST(fetched_ahead_of_expiry_and_kept_when_that_fails)
{
    struct keys_wait w[3] = {0};
    use_container();
    lives_s = 4;
    expect_key("K1");
    status = 500; // from now on
    while (requests < 2)
        run_for(20);
    run_for(20);
    ck_assert_ptr_nonnull(keys_now(keys)); // old, but valid: nobody noticed
    ck_assert_str_eq(keys_now(keys)->access_key, "K1");
    ck_assert_uint_eq(keys_generation(keys), 1);
    while (keys_now(keys) != NULL)
        run_for(20);
    for (int i = 0; i < 3; i++) // at their end those who ask hear why
        keys_wait(keys, &w[i], on_told, NULL);
    run_for(20000);
    ck_assert_int_eq(told_badly, 3);
    status = 200;
    lives_s = 3600;
    while (keys_now(keys) == NULL)
        run_for(20);
    ck_assert_uint_eq(keys_generation(keys), 2);
    ck_assert_int_gt(keys_now(keys)->expires_wall_ms, clock_wall_ms() + 3000000);
    teardown();
}
END_TEST

START_TEST(one_fetch_for_all_who_wait)
{
    struct keys_wait w[3] = {0};
    use_container();
    const struct keys_config config = {.loop = loop, .http = http};
    ck_assert_int_eq(keys_open(&config, &keys, NULL), OK);
    ck_assert_ptr_null(keys_now(keys));
    for (int i = 0; i < 3; i++)
        keys_wait(keys, &w[i], on_told, NULL);
    ck_assert_int_eq(told, 0); // never from inside
    run_for(20000);
    ck_assert_int_eq(told, 3);
    ck_assert_int_eq(told_badly, 0);
    ck_assert_int_eq(requests, 1);
    ck_assert(!keys_refused(keys, keys_generation(keys))); // this new: it is not that
    ck_assert_ptr_nonnull(keys_now(keys));
    ck_assert(keys_refused(keys, 0)); // signed with older ones: there are others
    ck_assert_int_eq(requests, 1);
    teardown();
}
END_TEST

START_TEST(closed_while_it_fetches)
{
    struct keys_wait w = {0};
    use_container();
    silent = true;
    const struct keys_config config = {.loop = loop, .http = http};
    ck_assert_int_eq(keys_open(&config, &keys, NULL), OK);
    keys_wait(keys, &w, on_told, NULL);
    while (requests < 1)
        run_for(20);
    keys_close(keys);
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    write_file(".aws/config", "[default]\ncredential_process = sleep 1000\n");
    ck_assert_int_eq(keys_open(&config, &keys, NULL), OK);
    memset(&w, 0, sizeof w);
    keys_wait(keys, &w, on_told, NULL);
    run_for(50);
    teardown(); // kills the program
    keys = NULL;
    ck_assert_int_eq(told, 0);
}
END_TEST

// A debugger holds what was killed, as a dead network disk would: it has not ended for its parent.
static pid_t hold(pid_t pid)
{
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t holder = fork();
    if (holder == 0) {
        bool held = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
        if (write(ready[1], held ? "1" : "0", 1) == 1)
            pause();
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    if (byte == '1')
        return holder;
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    return -1; // not allowed here
}

static pid_t only_child(void)
{
    long pid = -1;
    AUTO_BUF struct buf path = {0}, text = {0};
    buf_printf(&path, "/proc/self/task/%d/children", (int)getpid());
    if (file_read(path.data, 4096, &text, NULL) == OK)
        pid = strtol(text.data, NULL, 10);
    ck_assert_int_gt(pid, 0);
    return (pid_t)pid;
}

START_TEST(a_program_that_does_not_die_is_not_waited_for)
{
    struct keys_wait w = {0};
    char text[300];
    setup();
    const char *fifo = in_dir("fifo");
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    snprintf(text, sizeof text,
             "[default]\ncredential_process = read x <%s; head -c 100000 /dev/zero; sleep 1000\n",
             fifo);
    write_file(".aws/config", text);
    const struct keys_config config = {.loop = loop, .http = http};
    ck_assert_int_eq(keys_open(&config, &keys, NULL), OK);
    keys_wait(keys, &w, on_told, NULL);
    run_for(50); // it is started
    int fd = open(fifo, O_RDWR);
    pid_t shell = only_child(), holder = hold(shell);
    ck_assert_int_eq(write(fd, "x\n", 2), 2);
    if (holder > 0) {
        while (told_badly == 0)
            run_for(20); // it printed too much, and was killed
        ck_assert_int_eq(kill(shell, 0), 0);
        kill(holder, SIGKILL);
        ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
        while (kill(shell, 0) == 0) // reaped when it ends in the end
            run_for(20);
    }
    close(fd);
    teardown();
    keys = NULL;
    ck_assert_int_eq(waitpid(shell, NULL, WNOHANG), -1);
}
END_TEST

START_TEST(expired_on_arrival)
{
    use_container(); // our clock is wrong, or theirs: used for a while all the same
    lives_s = -600;
    expect_key("K1");
    teardown();
}
END_TEST

// --- region and endpoint ---

static void expect_endpoint(const char *service, const char *given, const char *wanted)
{
    AUTO_BUF struct buf out = {0};
    struct error error = {0};
    ck_assert_int_eq(aws_endpoint_find(service, given, "eu-west-1", &out, NULL, &error), OK);
    ck_assert_str_eq(out.data, wanted);
}

static void expect_region(const char *given, const char *wanted)
{
    AUTO_BUF struct buf out = {0};
    ck_assert_int_eq(aws_region_find(given, &out, NULL), OK);
    ck_assert_str_eq(out.data, wanted);
}

START_TEST(regions_and_endpoints)
{
    AUTO_BUF struct buf china = {0};
    setup();
    expect_region(NULL, "us-east-1");
    expect_endpoint("sqs", NULL, "https://sqs.eu-west-1.amazonaws.com");
    expect_endpoint("s3", NULL, "https://s3.eu-west-1.amazonaws.com");
    aws_endpoint_of_amazon("sqs", "cn-north-1", &china);
    ck_assert_str_eq(china.data, "https://sqs.cn-north-1.amazonaws.com.cn");
    setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
    expect_endpoint("sqs", NULL, "https://sqs-fips.eu-west-1.amazonaws.com");
    setenv("AWS_USE_DUALSTACK_ENDPOINT", "true", 1);
    expect_endpoint("sqs", NULL, "https://sqs-fips.eu-west-1.api.aws");
    expect_endpoint("s3", NULL, "https://s3-fips.dualstack.eu-west-1.amazonaws.com");

    write_file(".aws/config", "[default]\nregion = ap-south-1\nendpoint_url = http://all\n"
                              "services = mine\n[services mine]\nsqs =\n  endpoint_url = http://q\n"
                              "s3 =\n  addressing_style = path\n");
    expect_region(NULL, "ap-south-1");
    expect_endpoint("sqs", NULL, "http://q");
    expect_endpoint("s3", NULL, "http://all");
    setenv("AWS_ENDPOINT_URL", "http://env", 1);
    expect_endpoint("sqs", NULL, "http://env");
    setenv("AWS_ENDPOINT_URL_SQS", "http://env-q", 1);
    expect_endpoint("sqs", NULL, "http://env-q");
    expect_endpoint("s3", NULL, "http://env");
    setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
    expect_endpoint("sqs", NULL, "https://sqs-fips.eu-west-1.api.aws");
    expect_endpoint("sqs", "http://flag", "http://flag");
    setenv("AWS_DEFAULT_REGION", "us-west-2", 1);
    expect_region(NULL, "us-west-2");
    setenv("AWS_REGION", "sa-east-1", 1);
    expect_region(NULL, "sa-east-1");
    expect_region("eu-north-1", "eu-north-1");
    ck_assert_int_eq(aws_region_find("EU/..", &china, NULL), ERR_ARGUMENT);
    teardown();
}
END_TEST

SUITE_MAIN("keys", places_in_their_order, profiles_and_roles, a_program_prints_keys,
           container_rules, container_token, sts_answers_are_read_with_care,
           fetched_ahead_of_expiry_and_kept_when_that_fails, one_fetch_for_all_who_wait,
           closed_while_it_fetches, a_program_that_does_not_die_is_not_waited_for,
           expired_on_arrival, regions_and_endpoints)
