#!/bin/sh
# Docker's own Swarm mode and the platform on the same three real hosts, with the same image: how soon all containers run, how
# long one takes, how soon they are gone, and how soon a host that lost its power gets no more work.
#
# Run with `sh benches/swarm.sh`, as root: it makes a bed. With PAAS_BENCH_SHORT=1 once each, otherwise three times; what is
# told is the middle. Results are told as benches/support/mod.rs says.
set -eu
cd "$(dirname "$0")/.."
count=30
rounds=3
if [ "${PAAS_BENCH_SHORT:-0}" != 0 ]; then rounds=1; fi

cargo build --release --quiet --package xtask --package paas-server --package paas-cli
bin=${CARGO_TARGET_DIR:-target}/release
bed() { "$bin/xtask" bed "$@"; }
cli() { "$bin/paas-cli" "$@"; }
work=$(mktemp -d)
export PAAS_CONFIG_DIR="$work/cli" PAAS_PASSWORD=a-password-for-benchmarks
server=
end() {
    if [ -n "$server" ]; then kill "$server" && wait "$server" || true; fi
    bed down
    rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM
if ! bed up 3 >"$work/up" 2>&1; then
    echo "SKIPPED: Swarm mode on real hosts: $(tail -n 1 "$work/up")"
    exit 0
fi

# ---- what is measured with ----

# Now, in milliseconds.
now() { echo $(($(date +%s%N) / 1000000)); }

# The middle of numbers, one a line.
middle() { sort -n | awk '{ all[NR] = $1 } END { print all[int(NR / 2) + 1] }'; }

# result FIGURE VALUE_MS BASELINE_MS GOAL: the ratio of platform to Swarm shall be at most GOAL.
result() {
    awk -v figure="$1" -v value="$2" -v baseline="$3" -v goal="$4" 'BEGIN {
        ratio = value / baseline
        printf "result: {\"figure\":\"%s\",\"value\":%.3f,\"unit\":\"s\",\"baseline\":%.3f,\"ratio\":%.3f,", \
            figure, value / 1000, baseline / 1000, ratio
        printf "\"goal\":\"ratio <= %s\",\"met\":%s}\n", goal, (ratio <= goal + 0) ? "true" : "false"
    }'
}

on_each() { for host in 1 2 3; do bed docker "$host" "$@"; done; }

# When Docker began to make each container and when it ran, milliseconds, a line each.
start_times() {
    for host in 1 2 3; do
        ids=$(bed docker "$host" ps --quiet)
        # One word for each id.
        # shellcheck disable=SC2086
        if [ -n "$ids" ]; then bed docker "$host" inspect --format '{{.Created}} {{.State.StartedAt}}' $ids; fi
    done | while read -r created started; do
        echo $(($(date -d "$created" +%s%N) / 1000000)) $(($(date -d "$started" +%s%N) / 1000000))
    done
}

# What one container took, of those that `start_times` told: the middle.
each() { awk '{ print $2 - $1 }' "$work/times" | middle; }

# until_so SECONDS COMMAND...: asks five times a second until it is so; milliseconds since `begun`.
until_so() {
    patience=$1
    shift
    while ! "$@"; do
        if [ $(($(now) - begun)) -gt $((patience * 1000)) ]; then
            echo "not within $patience s: $*" >&2
            exit 1
        fi
        sleep 0.2
    done
    echo $(($(now) - begun))
}
all_gone() { [ "$(on_each ps --all --quiet | wc -l)" -eq 0 ]; }

# ---- the image, on every host ----

mkdir -p "$work/image/bin" "$work/image/www"
cp "$(command -v busybox)" "$work/image/bin/"
for name in sh httpd; do ln -s busybox "$work/image/bin/$name"; done
echo hello >"$work/image/www/index.html"
tar -C "$work/image" -c . | bed docker 1 import --change 'CMD ["/bin/httpd","-f","-p","80","-h","/www"]' \
    --change 'EXPOSE 80' - bench-web:1 >/dev/null
bed docker 1 save bench-web:1 >"$work/image.tar"
bed load "$work/image.tar"

# ---- the platform ----

PAAS_ADMIN_PASSWORD="$PAAS_PASSWORD" "$bin/paas-server" --listen 127.0.0.1:15020 --data-dir "$work/data" \
    --engine a=tcp://10.77.0.2:2375 --engine b=tcp://10.77.0.3:2375 --engine c=tcp://10.77.0.4:2375 >"$work/log" 2>&1 &
server=$!
begun=$(now)
until_so 20 cli --retry-for 1 login --url http://127.0.0.1:15020 --name admin >/dev/null 2>&1
are_up() { [ "$(cli engines | grep -c ' up ')" -eq 3 ]; }
until_so 20 are_up >/dev/null
: >"$work/ours"
for _ in $(seq "$rounds"); do
    begun=$(now)
    cli --quiet run --name bench-web:1 --count "$count" --memory 32 --port tcp/::80 >"$work/ids" 2>/dev/null
    wall=$(($(now) - begun))
    start_times >"$work/times"
    begun=$(now)
    # One word for each id.
    # shellcheck disable=SC2046
    cli destroy $(cat "$work/ids") >/dev/null 2>&1
    echo "$wall $(each) $(($(now) - begun))" >>"$work/ours"
done
begun=$(now)
bed crash 3
is_down() { cli engine c | grep -q '^STATUS *down'; }
until_so 30 is_down >"$work/ours-down"
bed start 3
kill "$server"
wait "$server" || true
server=

# ---- Swarm ----

bed docker 1 swarm init --advertise-addr 10.77.0.2 >/dev/null
token=$(bed docker 1 swarm join-token --quiet worker)
for host in 2 3; do bed docker "$host" swarm join --token "$token" 10.77.0.2:2377 >/dev/null; done
is_complete() { bed docker 1 service ls --format '{{.Replicas}}' | grep -q "^$count/$count"; }

# swarm_round OPTIONS...: creates a service, and removes it when it is complete. Its ports are the hosts' own: Swarm's mesh needs
# a kernel module that not every machine has.
swarm_round() {
    begun=$(now)
    bed docker 1 service create --quiet --detach --name web --replicas "$count" --limit-memory 32M \
        --publish mode=host,target=80 "$@" bench-web:1 >/dev/null
    until_so 120 is_complete >/dev/null
    start_times >"$work/times"
    # Until the last one ran, and not until somebody saw that.
    wall=$(awk -v begun="$begun" '$2 > last { last = $2 } END { print last - begun }' "$work/times")
    begun=$(now)
    bed docker 1 service rm web >/dev/null
    echo "$wall $(each) $(until_so 120 all_gone)"
}
: >"$work/swarm"
: >"$work/swarm-init"
for _ in $(seq "$rounds"); do
    swarm_round >>"$work/swarm"
    swarm_round --init >>"$work/swarm-init"
done
begun=$(now)
bed docker 1 service create --quiet --detach --name web --replicas "$count" --limit-memory 32M bench-web:1 >/dev/null
until_so 120 is_complete >/dev/null
begun=$(now)
bed crash 3
is_seen() { bed docker 1 node ls --format '{{.Status}}' | grep -q Down; }
elsewhere() { [ "$( (bed docker 1 ps --quiet; bed docker 2 ps --quiet) | wc -l)" -ge "$count" ]; }
echo "Swarm says that a crashed host is down after $(until_so 60 is_seen) ms"
until_so 120 elsewhere >"$work/swarm-down"

# ---- the figures ----

column() { awk -v column="$1" '{ print $column }' "$2" | middle; }
# As ratios of ours to Swarm's: 1.1 times as fast is 0.91 of the time.
result "against Swarm: $count run" "$(column 1 "$work/ours")" "$(column 1 "$work/swarm")" 0.91
result "against Swarm: one of $count, p50" "$(column 2 "$work/ours")" "$(column 2 "$work/swarm")" 0.33
result "against Swarm: $count destroyed" "$(column 3 "$work/ours")" "$(column 3 "$work/swarm")" 0.33
result "against Swarm with an init: $count destroyed" "$(column 3 "$work/ours")" "$(column 3 "$work/swarm-init")" 0.5
result "against Swarm: a crashed host gets no more work" "$(cat "$work/ours-down")" "$(cat "$work/swarm-down")" 0.167
