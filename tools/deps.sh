#!/bin/sh
# Installs what is missing of the Debian packages that a build (and, with "test", the tests) needs.
# Says what it does; needs root or sudo only when something is missing.
set -eu
build="gcc make libc6-dev pkg-config libmicrohttpd-dev libcurl4-openssl-dev libssl-dev libjansson-dev
libxml2-dev liblmdb-dev libdnnl-dev libprotobuf-c-dev protobuf-c-compiler libonnx-dev libhdf5-dev
libturbojpeg0-dev libjpeg62-turbo-dev libspng-dev libwebp-dev libseccomp-dev ca-certificates"
test="check perl python3 python3-pytest python3-boto3 python3-numpy python3-pil python3-torch
python3-onnx python3-h5py libonnx-testdata python3-prometheus-client celery python3-pycurl
nodejs npm chromium awscli s3cmd curl clang strace iproute2 procps bc fonts-noto-color-emoji fonts-dejavu-core"

# Present is what dpkg says is installed. Node and npm may come from elsewhere (other packages of the same
# commands conflict with Debian's): there the commands count.
present() {
    case $1 in
    nodejs) command -v node >/dev/null && return 0 ;;
    npm) command -v npm >/dev/null && return 0 ;;
    esac
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -q '^installed$'
}

wanted=
for group in "$@"; do
    case $group in
    build) wanted="$wanted $build" ;;
    test) wanted="$wanted $test" ;;
    *) echo "usage: tools/deps.sh build [test]" >&2; exit 2 ;;
    esac
done
missing=
for package in $wanted; do
    present "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing Debian packages:$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "cannot install them: you are not root and there is no sudo. As root: apt-get install$missing" >&2
        exit 1
    }
    as_root=sudo
fi
$as_root apt-get update -q
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $missing
