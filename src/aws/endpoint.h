// Region and endpoint of a service, by the rules that all AWS tools share.
#pragma once

#include "base/buf.h"

// given (a flag) or NULL; AWS_REGION, AWS_DEFAULT_REGION, the profile's region, "us-east-1".
// ERR_ARGUMENT: it is not a region's name; ERR_FORMAT, ERR_NOT_FOUND: of the profile.
enum err aws_region_find(const char *given, struct buf *out, struct error *error) MUST_CHECK;

// given (a flag) or NULL; AWS_ENDPOINT_URL_SQS / _S3 / _STS, AWS_ENDPOINT_URL, the profile's
// services section, its endpoint_url; Amazon's of the region.
// AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true passes over all but given. service: "sqs" | "s3" |
// "sts" | "autoscaling" (…_URL_AUTO_SCALING). *amazons: nothing was configured (may be NULL).
enum err aws_endpoint_find(const char *service, const char *given, const char *region,
                           struct buf *out, bool *amazons, struct error *error) MUST_CHECK;
// Amazon's own: "https://sqs.eu-central-1.amazonaws.com". AWS_USE_FIPS_ENDPOINT and
// AWS_USE_DUALSTACK_ENDPOINT choose its other doors.
void aws_endpoint_of_amazon(const char *service, const char *region, struct buf *out);
