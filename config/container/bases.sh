#!/bin/sh
# Makes the two images that the Dockerfile builds on, where no registry of images is reached: from
# Debian's packages, by mmdebstrap and buildah, as root.
#
#   config/container/bases.sh
#
# localhost/ocm-build has a C compiler, and finds a Rust toolchain mounted at /usr/local/rust;
# localhost/ocm-run has the C library and a user without rights, and no program at all.
set -eu

suite=bookworm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# make NAME MMDEBSTRAP_OPTIONS…: sets $container, which is to be configured and committed.
make() {
    name=$1
    shift
    mmdebstrap --quiet --mode=root --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' "$@" "$suite" "$work/$name.tar"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/$name.tar" / >/dev/null
    rm "$work/$name.tar"
}

make ocm-build --variant=minbase --include=gcc,libc6-dev,ca-certificates
buildah config --env PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env CARGO_HOME=/usr/local/cargo "$container"
buildah commit --quiet --rm "$container" localhost/ocm-build

# Only unpacked: nothing in it runs a package's scripts.
make ocm-run --variant=extract --include=libc6,libgcc-s1,netbase \
    --customize-hook='echo "root:x:0:0:root:/root:/sbin/nologin" >"$1/etc/passwd"' \
    --customize-hook='echo "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin" >>"$1/etc/passwd"' \
    --customize-hook='printf "root:x:0:\nnonroot:x:65532:\n" >"$1/etc/group"' \
    --customize-hook='echo "hosts: files dns" >"$1/etc/nsswitch.conf"' \
    --customize-hook='install -d -m 700 -o 65532 -g 65532 "$1/home/nonroot"' \
    --customize-hook='install -d -m 1777 "$1/tmp"'
buildah config --user 65532:65532 --env HOME=/home/nonroot "$container"
buildah commit --quiet --rm "$container" localhost/ocm-run
