#!/bin/sh
# Prints what an overlay makes: render.sh development|production
#
# Uses `kubectl kustomize` or `kustomize`, whichever is there; without them it brings kustomize into
# target/tools from Debian's packages.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
. "$root/config/tools.sh"

overlay=$root/config/kubernetes/overlays/${1:?"usage: render.sh development|production"}
if command -v kubectl >/dev/null; then
    exec kubectl kustomize "$overlay"
fi
from_debian kustomize kustomize trixie
exec "$tool" build "$overlay"
