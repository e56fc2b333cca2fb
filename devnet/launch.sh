#!/bin/sh
# Starts a federation of N OCM nodes on this machine (3 if no number is given), and sees that it is
# one.
#
#   devnet/launch.sh [N] [options of `ocm devnet up`]
#   devnet/launch.sh 3 --once       stop and remove it again when everything was seen to hold
#
# Builds the release binary first; cargo does nothing if it is up to date. Set OCM_BIN to use a
# binary that is there already.
set -eu

nodes=3
case ${1-} in
    '' | -*) ;;
    *[!0-9]*)
        echo "usage: devnet/launch.sh [N] [options of 'ocm devnet up']" >&2
        exit 2
        ;;
    *)
        nodes=$1
        shift
        ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/devnet/binary.sh"

exec "$bin" devnet up --nodes "$nodes" "$@"
