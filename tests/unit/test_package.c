#include "base/file.h"
#include "engine/package_json.h"
#include "engine/quantization.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char whole[] =
    "{\"name\":\"demo\",\"version\":\"1\",\"description\":\"Animals.\",\"file\":\"model.onnx\","
    "\"labels\":\"labels.txt\",\"input\":{\"width\":128,\"height\":96,\"layout\":\"nhwc\","
    "\"color\":\"bgr\",\"resize\":\"letterbox\",\"filter\":\"nearest\",\"orient\":false,"
    "\"rgb\":\"pillow\",\"scale\":\"divide_first\",\"decode\":\"exact\","
    "\"mean\":[1,2,3],\"std\":[4,5.5,6]},\"output\":{\"kind\":\"logits\",\"top_k\":3},"
    "\"groups\":{\"dog\":[0,\"2-3\"],\"cat\":[1]},\"group_threshold\":0.25}";

static char folder[] = "/tmp/smelt-package-XXXXXX"; // of this test

static void put(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void make_folder(const char *name)
{
    char path[200];
    if (strstr(folder, "XXXXXX") != NULL)
        ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void remove_folder(void)
{
    char command[200];
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void make_demo(const char *json, const char *labels)
{
    make_folder("demo");
    put("demo/smelt.json", json);
    put("demo/labels.txt", labels);
    put("demo/model.onnx", "abc");
}

static void expect_open(const char *name, enum err err, const char *text)
{
    struct package *p;
    struct error error = {0};
    enum err got = package_open(name, folder, &p, &error);
    ck_assert_msg(got == err && strstr(error.msg, text) != NULL, "%s: '%s' lacks '%s'",
                  err_name(got), error.msg, text);
}

START_TEST(every_field_is_read)
{
    struct package *p;
    struct error error;
    make_demo(whole, "puppy\r\ncat\npoodle\nwolf dog\n");
    ck_assert_msg(package_open("demo", folder, &p, &error) == OK, "%s", error.msg);
    ck_assert_str_eq(p->name, "demo");
    ck_assert_str_eq(p->version, "1");
    ck_assert_str_eq(p->description, "Animals.");
    ck_assert_str_eq(p->sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_uint_eq(p->label_count, 4);
    ck_assert_str_eq(p->labels[0], "puppy");
    ck_assert_str_eq(p->labels[3], "wolf dog");
    const struct preprocess *in = &p->preprocess;
    ck_assert(in->width == 128 && in->height == 96 && in->layout == IMAGE_NHWC && in->bgr);
    ck_assert(in->resize == IMAGE_LETTERBOX && in->filter == IMAGE_NEAREST && !in->orient);
    ck_assert(in->mean[2] == 3.0f && in->std[1] == 5.5f);
    ck_assert(in->rgb == IMAGE_AS_PILLOW && in->scale == IMAGE_DIVIDE_FIRST && !in->fast);
    ck_assert(p->softmax && p->output_known && p->top_k == 3 && p->group_threshold == 0.25f);
    struct engine_shape shape = {4, {1, 96, 128, 3}};
    ck_assert_int_eq(package_fit(p, &shape, 4, NULL), OK);
    ck_assert_uint_eq(p->group_count, 2);
    ck_assert_str_eq(p->groups[0].name, "dog");
    ck_assert_mem_eq(p->groups[0].members, "\1\0\1\1", 4);
    ck_assert_mem_eq(p->groups[1].members, "\0\1\0\0", 4);
    package_free(p);
    remove_folder();
}
END_TEST

START_TEST(defaults_are_those_of_the_documentation)
{
    struct package *p = package_new();
    struct package_files files = {0};
    struct engine_shape shape = {4, {1, 3, 64, 80}};
    ck_assert_int_eq(package_parse(SPAN("{\"name\":\"x\",\"file\":\"x.onnx\"}"), p, &files, NULL),
                     OK);
    ck_assert_str_eq(files.model, "x.onnx");
    ck_assert_ptr_null(files.labels);
    ck_assert_int_eq(package_fit(p, &shape, 3, NULL), OK);
    const struct preprocess *in = &p->preprocess;
    ck_assert(in->width == 80 && in->height == 64 && in->layout == IMAGE_NCHW && !in->bgr);
    ck_assert(in->resize == IMAGE_STRETCH && in->filter == IMAGE_BILINEAR && in->orient);
    ck_assert(in->mean[0] == 127.5f && in->std[2] == 127.5f);
    ck_assert(in->rgb == IMAGE_OVER_WHITE && in->scale == IMAGE_SUBTRACT_FIRST && in->fast);
    ck_assert(p->top_k == 5 && p->group_threshold == 0.5f && !p->output_known);
    ck_assert_uint_eq(p->label_count, 3);
    ck_assert_str_eq(p->labels[2], "class 2");
    free(files.model);
    package_free(p);
}
END_TEST

// Takes the good file, puts `to` in the place of `from`, and wants the error text.
static void expect_json(const char *from, const char *to, const char *text)
{
    AUTO_BUF struct buf json = {0};
    const char *at = strstr(whole, from);
    ck_assert_ptr_nonnull(at);
    buf_add(&json, whole, (size_t)(at - whole));
    buf_add_text(&json, to);
    buf_add_text(&json, at + strlen(from));
    struct package *p = package_new();
    struct package_files files = {0};
    struct error error = {0};
    enum err err = package_parse(buf_view(&json), p, &files, &error);
    ck_assert_msg(err == ERR_FORMAT && strstr(error.msg, text) != NULL, "%s -> %s: '%s' lacks '%s'",
                  from, to, error.msg, text);
    free(files.model);
    free(files.labels);
    package_free(p);
}

START_TEST(each_wrong_field_is_named)
{
    expect_json("\"labels\"", "\"lables\"", "'lables' is unknown, did you mean 'labels'");
    expect_json("\"orient\"", "\"orientation\"",
                "'input.orientation' is unknown; there are: width");
    expect_json("\"top_k\"", "\"topk\"", "did you mean 'output.top_k'");
    expect_json("\"demo\"", "\"../x\"", "'name' must be");
    expect_json("\"demo\"", "7", "'name' must be text");
    expect_json("\"model.onnx\"", "\"../model.onnx\"", "'file' must name");
    expect_json("\"file\":\"model.onnx\",", "", "'file' must name");
    expect_json("\"labels.txt\"", "\"/etc/passwd\"", "'labels' must name");
    expect_json("128", "0", "'input.width' must be a whole number from 1 to 4096");
    expect_json("128", "\"128\"", "'input.width' must be");
    expect_json("\"width\":128,", "", "belong together");
    expect_json("\"nhwc\"", "\"hwc\"",
                "'input.layout' must be one of \"nchw\", \"nhwc\", not 'hwc'");
    expect_json("\"bgr\"", "3", "'input.color' must be one of");
    expect_json("\"pillow\"", "\"drop\"", "'input.rgb' must be one of \"over_white\", \"pillow\"");
    expect_json("\"divide_first\"", "true", "'input.scale' must be one of");
    expect_json("\"exact\"", "\"quick\"", "'input.decode' must be one of \"exact\", \"fast\"");
    expect_json("\"exact\"", "\"fast\"", "cannot be \"fast\" with input.filter \"nearest\"");
    expect_json("\"nearest\",\"orient\":false,\"rgb\":\"pillow\",\"scale\":\"divide_first\","
                "\"decode\":\"exact\"",
                "\"bilinear\",\"rgb\":\"pillow\",\"decode\":\"fast\"",
                "cannot be \"fast\" with input.rgb \"pillow\"");
    expect_json("\"letterbox\"", "\"crop\"", "\"stretch\", \"center_crop\", \"letterbox\"");
    expect_json("\"nearest\"", "\"bicubic\"", "'input.filter' must be one of");
    expect_json("false", "0", "'input.orient' must be true or false");
    expect_json("[1,2,3]", "[1,2]", "'input.mean' must be three numbers");
    expect_json("[4,5.5,6]", "[4,0,6]", "'input.std' must be three numbers");
    expect_json("\"logits\"", "\"softmax\"", "'output.kind' must be one of");
    expect_json("\"top_k\":3", "\"top_k\":0", "'output.top_k' must be");
    expect_json("[0,\"2-3\"]", "[0,\"3-2\"]", "group 'dog': entry 2 must be");
    expect_json("[0,\"2-3\"]", "[-1]", "group 'dog': entry 1 must be");
    expect_json("[0,\"2-3\"]", "[2.5]", "group 'dog': entry 1 must be");
    expect_json("[0,\"2-3\"]", "[]", "group 'dog' must be a list");
    expect_json("\"version\":\"1\"", "\"precision\":\"int4\"",
                "'precision' must be one of \"fp32\", \"int8\", not 'int4'");
    expect_json("\"version\":\"1\"", "\"precision\":8", "'precision' must be one of");
    expect_json("0.25", "1.5", "'group_threshold' must be a number from 0 to 1");
    expect_json("\"version\":\"1\"", "\"name\":\"1\"", "no valid JSON, line 1");
    expect_json("{\"width\"", "[\"width\"", "no valid JSON, line 1");
    expect_json("{\"kind\":\"logits\",\"top_k\":3}", "5", "must be an object");
}
END_TEST

START_TEST(a_package_in_int8_names_its_scales)
{
    static const char json[] = "{\"name\":\"demo\",\"file\":\"model.onnx\",\"precision\":\"int8\"}";
    struct package *p;
    struct quantization q;
    struct error error = {0};
    AUTO_BUF struct buf scales = {0};
    make_demo(json, "a\n");
    ck_assert_msg(package_open("demo", folder, &p, &error) == OK, "%s", error.msg);
    ck_assert(p->int8_path != NULL && strstr(p->int8_path, "demo/int8.json") != NULL);
    ck_assert_int_eq(package_quantization(p, &q, &error), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.msg, "int8.json"));
    for (int good = 0; good < 2; good++) {
        buf_clear(&scales);
        buf_printf(&scales,
                   "{\"format\":1,\"model_sha256\":\"%.63s%c\",\"tensors\":{},\"layers\":[]}",
                   p->sha256,
                   good != 0              ? p->sha256[63]
                   : p->sha256[63] == '0' ? '1'
                                          : '0');
        put("demo/int8.json", scales.data);
        enum err err = package_quantization(p, &q, &error);
        ck_assert_int_eq(err, good != 0 ? OK : ERR_FORMAT);
        ck_assert(good != 0 || strstr(error.msg, "another model file") != NULL);
        quantization_release(&q);
    }
    package_free(p);
    remove_folder();
}
END_TEST

START_TEST(a_package_that_is_not_there_is_told_with_those_that_are)
{
    make_demo(whole, "a\n");
    make_folder("xception");
    put("xception/smelt.json", "{}");
    make_folder("empty");
    expect_open("demp", ERR_NOT_FOUND, "no model 'demp', did you mean 'demo'? There are: ");
    expect_open("mobilenet", ERR_NOT_FOUND, folder);
    expect_open("mobilenet", ERR_NOT_FOUND, "demo");
    expect_open("mobilenet", ERR_NOT_FOUND, "xception");
    expect_open("", ERR_ARGUMENT, "empty");
    char path[200];
    snprintf(path, sizeof path, "%s/empty", folder);
    expect_open(path, ERR_NOT_FOUND, "neither a folder with a smelt.json nor an .onnx file");
    snprintf(path, sizeof path, "%s/nowhere/model.onnx", folder);
    expect_open(path, ERR_NOT_FOUND, "nowhere/model.onnx");
    expect_open("xception", ERR_FORMAT, "/xception/smelt.json: field 'name'");
    remove_folder();
}
END_TEST

START_TEST(bad_labels_and_a_missing_model_are_named)
{
    make_demo(whole, "a\n\nb\n");
    expect_open("demo", ERR_FORMAT, "labels.txt' line 2 is empty");
    put("demo/labels.txt", "");
    expect_open("demo", ERR_FORMAT, "labels.txt' is empty");
    put("demo/labels.txt", "a\n\xff\n");
    expect_open("demo", ERR_FORMAT, "no UTF-8");
    put("demo/labels.txt", "a\nb");
    char path[200];
    snprintf(path, sizeof path, "%s/demo/model.onnx", folder);
    unlink(path);
    expect_open("demo", ERR_NOT_FOUND, "demo/model.onnx");
    snprintf(path, sizeof path, "%s/demo/labels.txt", folder);
    unlink(path);
    expect_open("demo", ERR_NOT_FOUND, "demo/labels.txt");
    remove_folder();
}
END_TEST

static void expect_fit(const struct engine_shape *shape, size_t classes, enum err err,
                       const char *text)
{
    struct package *p;
    struct error error = {0};
    ck_assert_int_eq(package_open("demo", folder, &p, NULL), OK);
    enum err got = package_fit(p, shape, classes, &error);
    ck_assert_msg(got == err && strstr(error.msg, text) != NULL, "'%s' lacks '%s'", error.msg,
                  text);
    package_free(p);
}

START_TEST(package_and_network_must_agree)
{
    make_demo(whole, "a\nb\nc\nd\n");
    struct engine_shape good = {4, {1, 96, 128, 3}}, swapped = {4, {1, 128, 96, 3}};
    struct engine_shape first = {4, {1, 3, 96, 128}}, flat = {2, {1, 784}},
                        grey = {4, {1, 1, 96, 128}}, two = {4, {1, 2, 96, 128}};
    expect_fit(&swapped, 4, ERR_FORMAT,
               "128 x 96 pixels in layout nhwc, but the model takes [1, 128");
    expect_fit(&first, 4, ERR_FORMAT, "correct input.width, input.height or input.layout");
    expect_fit(&flat, 4, ERR_UNSUPPORTED, "[1, 784]");
    expect_fit(&grey, 4, ERR_FORMAT, "correct input.width, input.height or input.layout");
    expect_fit(&two, 4, ERR_UNSUPPORTED, "[1, 2, 96, 128]");
    expect_fit(&good, 5, ERR_FORMAT, "4 labels, but the model gives 5 scores");
    expect_fit(&good, 0, ERR_UNSUPPORTED, "0 numbers");
    put("demo/labels.txt", "a\nb\n");
    expect_fit(&good, 2, ERR_FORMAT,
               "group 'dog' names class 3, but the model has the classes 0 to 1");
    remove_folder();
}
END_TEST

START_TEST(a_bare_onnx_file_is_a_package_with_defaults)
{
    struct package *p;
    char path[200];
    make_folder("bare");
    put("bare/small-net.onnx", "abc");
    snprintf(path, sizeof path, "%s/bare/small-net.onnx", folder);
    ck_assert_int_eq(package_open(path, "", &p, NULL), OK);
    ck_assert_str_eq(p->name, "small-net");
    ck_assert_str_eq(p->model_path, path);
    struct engine_shape large = {4, {1, 3, 5000, 5000}}, shape = {4, {1, 40, 50, 3}};
    ck_assert_int_eq(package_fit(p, &large, 2, NULL), ERR_LIMIT);
    p->preprocess.width = p->preprocess.height = 0;
    ck_assert_int_eq(package_fit(p, &shape, 2, NULL), OK);
    ck_assert(p->preprocess.layout == IMAGE_NHWC && p->preprocess.width == 50);
    ck_assert(!p->preprocess.grey);
    struct engine_shape grey[] = {{4, {1, 1, 40, 50}}, {4, {1, 40, 50, 1}}};
    for (int i = 0; i < 2; i++) {
        p->preprocess.width = p->preprocess.height = 0;
        ck_assert_int_eq(package_fit(p, &grey[i], 2, NULL), OK);
        ck_assert(p->preprocess.grey && p->preprocess.width == 50 && p->preprocess.height == 40);
        ck_assert_int_eq(p->preprocess.layout, i == 0 ? IMAGE_NCHW : IMAGE_NHWC);
    }
    package_free(p);
    remove_folder();
}
END_TEST

START_TEST(search_path_is_the_environments_or_the_known_folders)
{
    AUTO_BUF struct buf given = {0}, known = {0};
    package_search_path("/a:/b", &given);
    ck_assert_str_eq(given.data, "/a:/b");
    package_search_path("", &known);
    ck_assert_ptr_nonnull(
        strstr(known.data, "models:/usr/local/share/smelt/models:/usr/share/smelt"));
    ck_assert_ptr_nonnull(strstr(known.data, "/unit/models:")); // beside this program
}
END_TEST

SUITE_MAIN("package", every_field_is_read, defaults_are_those_of_the_documentation,
           each_wrong_field_is_named, a_package_in_int8_names_its_scales,
           a_package_that_is_not_there_is_told_with_those_that_are,
           bad_labels_and_a_missing_model_are_named, package_and_network_must_agree,
           a_bare_onnx_file_is_a_package_with_defaults,
           search_path_is_the_environments_or_the_known_folders)
