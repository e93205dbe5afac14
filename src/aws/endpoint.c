#include "aws/endpoint.h"

#include "aws/profile.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { REGION_BYTES_MAX = 63 };

enum err aws_region_find(const char *given, struct buf *out, struct error *error)
{
    AUTO_PROFILE struct profile profile = {0};
    const char *region = given;
    if (region == NULL)
        region = environment_value("AWS_REGION");
    if (region == NULL)
        region = environment_value("AWS_DEFAULT_REGION");
    if (region == NULL) {
        TRY(profile_open(&profile, error));
        region = profile_value(&profile, profile.name, "region");
    }
    if (region == NULL)
        region = "us-east-1";
    size_t len = strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (len == 0 || region[len] != '\0' || len > REGION_BYTES_MAX)
        return fail(error, ERR_ARGUMENT, 0, "'%.100s' is not a region, like eu-central-1", region);
    buf_add_text(out, region);
    return OK;
}

void aws_endpoint_of_amazon(const char *service, const char *region, struct buf *out)
{
    bool china = strncmp(region, "cn-", 3) == 0;
    bool dual = environment_is_true("AWS_USE_DUALSTACK_ENDPOINT");
    buf_printf(out, "https://%s%s", service,
               environment_is_true("AWS_USE_FIPS_ENDPOINT") ? "-fips" : "");
    if (dual && strcmp(service, "s3") == 0) // older than the rule for the others
        buf_printf(out, ".dualstack.%s.amazonaws.com%s", region, china ? ".cn" : "");
    else if (dual)
        buf_printf(out, ".%s.%s", region, china ? "api.amazonwebservices.com.cn" : "api.aws");
    else
        buf_printf(out, ".%s.amazonaws.com%s", region, china ? ".cn" : "");
}

// What the variables and profiles call a service: its name with spaces, these as underscores.
static const char *configured_as(const char *service)
{
    return strcmp(service, "autoscaling") == 0 ? "auto_scaling" : service;
}

static const char *of_environment(const char *service)
{
    char variable[40] = "AWS_ENDPOINT_URL_";
    size_t len = strlen(variable);
    for (const char *c = service; *c != '\0'; c++)
        variable[len++] = (char)toupper((unsigned char)*c);
    variable[len] = '\0';
    const char *own = environment_value(variable);
    return own != NULL ? own : environment_value("AWS_ENDPOINT_URL");
}

static const char *of_profile(struct profile *p, const char *service)
{
    char section[200];
    const char *url = NULL, *services = profile_value(p, p->name, "services");
    const char *ignore = profile_value(p, p->name, "ignore_configured_endpoint_urls");
    if (span_is_nocase(span_from(ignore), "true"))
        return NULL;
    if (services != NULL &&
        snprintf(section, sizeof section, "services %s", services) < (int)sizeof section)
        url = profile_value_below(p, section, service, "endpoint_url");
    return url != NULL ? url : profile_value(p, p->name, "endpoint_url");
}

enum err aws_endpoint_find(const char *service, const char *given, const char *region,
                           struct buf *out, bool *amazons, struct error *error)
{
    AUTO_PROFILE struct profile profile = {0};
    const char *url = given;
    bool ignore = environment_is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    if (url == NULL && !ignore)
        url = of_environment(configured_as(service));
    if (url == NULL && !ignore) {
        TRY(profile_open(&profile, error));
        url = of_profile(&profile, configured_as(service));
    }
    if (amazons != NULL)
        *amazons = url == NULL;
    if (url != NULL)
        buf_add_text(out, url);
    else
        aws_endpoint_of_amazon(service, region, out);
    return OK;
}
