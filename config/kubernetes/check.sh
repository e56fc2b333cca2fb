#!/bin/sh
# Renders both overlays and has kubernetes-validate judge every resource strictly, for the oldest and
# the newest version of Kubernetes that they are for. It takes seconds, and brings the tools that are
# missing into target/tools.
#
#   config/kubernetes/check.sh
#
# What the manifests must say besides, and that a node starts with what they give it, is tested by
# `cargo test --test federation kubernetes`.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
. "$root/config/tools.sh"

from_pypi kubernetes-validate kubernetes-validate==1.37.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for overlay in development production; do
    "$root/config/kubernetes/render.sh" "$overlay" >"$work/$overlay.yaml"
    for version in 1.31 1.37; do
        "$tool" --strict --quiet --kubernetes-version "$version" "$work/$overlay.yaml"
    done
    echo "$overlay: $(grep -c '^kind:' "$work/$overlay.yaml") resources, all valid"
done
