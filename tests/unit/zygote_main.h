// A test program that starts a crew is the zygote's program too (argv[1] "zygote").
#pragma once

#include "worker/zygote.h"

#include <stdlib.h>
#include <string.h>

static const char *zygote_argument(int argc, char **argv, const char *name)
{
    for (int i = 2; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

static bool is_zygote(int argc, char **argv)
{
    return argc > 2 && strcmp(argv[1], "zygote") == 0;
}

static int be_zygote(int argc, char **argv)
{
    const struct zygote_config config = {.control_fd = atoi(zygote_argument(argc, argv, "--fd")),
                                         .model = zygote_argument(argc, argv, "--model"),
                                         .search_path = zygote_argument(argc, argv, "--models"),
                                         .exec = zygote_argument(argc, argv, "--exec"),
                                         .known = zygote_argument(argc, argv, "--known")};
    return zygote_run(&config);
}
