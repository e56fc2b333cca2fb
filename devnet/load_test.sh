#!/bin/sh
# Starts a federation of OCM nodes on this machine, loads it with JOBS loads at once, prints what
# each measured, and takes the federation down again.
#
#   devnet/load_test.sh JOBS [--nodes N] [options of `ocm devnet load`]
#   devnet/load_test.sh 4 --nodes 5 --rate 50 --seconds 10 --size 300
#
# Without options: 3 nodes, and of each load 50 memories a second for 10 seconds. Exits with the
# highest exit code of the loads. Builds the release binary first; cargo does nothing if it is up to
# date. Set OCM_BIN to use a binary that is there already.
set -eu

usage() {
    echo "usage: devnet/load_test.sh JOBS [--nodes N] [options of 'ocm devnet load']" >&2
    exit 2
}

jobs=${1-}
case $jobs in
    '' | *[!0-9]* | 0) usage ;;
esac
shift
# Each load listens to every node, and a node has at most 64 listeners.
if [ "$jobs" -gt 64 ]; then
    echo "at most 64 loads at once, these are $jobs" >&2
    exit 2
fi
nodes=3
if [ "${1-}" = --nodes ]; then
    [ $# -ge 2 ] || usage
    nodes=$2
    shift 2
fi
[ $# -gt 0 ] || set -- --rate 50 --seconds 10

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/devnet/binary.sh"

work=$(mktemp -d)
end() {
    # Where the federation did not come up there is nothing to take down.
    "$bin" devnet --dir "$work/devnet" down >/dev/null 2>&1 || :
    rm -rf "$work"
}
trap end EXIT
# The loads hear it too, and print what they have measured.
trap : INT
trap 'exit 143' TERM

"$bin" devnet --dir "$work/devnet" up --nodes "$nodes" >/dev/null

job=1
pids=
while [ "$job" -le "$jobs" ]; do
    "$bin" devnet --dir "$work/devnet" load "$@" >"$work/$job.out" 2>"$work/$job.err" &
    pids="$pids $!"
    job=$((job + 1))
done

worst=0
job=1
for pid in $pids; do
    code=0
    wait "$pid" || code=$?
    # A signal ends the waiting, not the load.
    while kill -0 "$pid" 2>/dev/null; do
        code=0
        wait "$pid" || code=$?
    done
    [ "$code" -le "$worst" ] || worst=$code
    echo "load $job of $jobs"
    cat "$work/$job.out"
    cat "$work/$job.err" >&2
    job=$((job + 1))
done
exit "$worst"
