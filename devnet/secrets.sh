#!/bin/sh
# Makes what each node of devnet/compose.yml keeps secret: the token of its API, and the seed of its
# identity.
#
#   devnet/secrets.sh [DIRECTORY]      devnet/secrets if none is named
#
# A file that is there already stays as it is.
set -eu

dir=${1-$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/secrets}
umask 077
# Compose shows a file to its container with the owner and mode that it has here, and a container
# runs as a user of its own: whoever gets at the files may read them, and only you get at them.
mkdir -p "$dir"
chmod 700 "$dir"
for node in node-0 node-1 node-2; do
    for secret in token seed; do
        file=$dir/$node.$secret
        [ -e "$file" ] || head -c 32 /dev/urandom | base64 >"$file"
        chmod 444 "$file"
    done
done
