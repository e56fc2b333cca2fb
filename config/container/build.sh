#!/bin/sh
# Builds the image `ocm` from the Dockerfile where no registry of images is reached: on bases made
# from Debian's packages, with the Rust toolchain of this machine. Where one is reached,
# `docker build -t ocm .` does it.
#
#   apt-get install buildah mmdebstrap
#   config/container/build.sh             # as root; minutes at first, then only what changed
#   config/container/check.sh             # runs it, and sees that it is what it says
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
for program in buildah mmdebstrap rustc; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is missing: see the head of $0" >&2
        exit 69
    fi
done

for base in ocm-build ocm-run; do
    if ! buildah inspect --type image "localhost/$base" >/dev/null 2>&1; then
        "$root/config/container/bases.sh"
        break
    fi
done

# Crates come as they come to this machine: by its certificates, and by its settings of cargo.
set -- --volume "$(rustc --print sysroot):/usr/local/rust:ro" \
    --volume /etc/ssl/certs:/etc/ssl/certs:ro
settings=${CARGO_HOME-"$HOME/.cargo"}/config.toml
[ ! -f "$settings" ] || set -- "$@" --volume "$settings:/usr/local/cargo/config.toml:ro"

exec buildah build --isolation chroot --format docker --layers --tag localhost/ocm \
    --build-arg BUILD_IMAGE=localhost/ocm-build --build-arg RUN_IMAGE=localhost/ocm-run \
    --build-arg REVISION="$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)" \
    "$@" "$root"
