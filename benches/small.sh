#!/bin/sh
# The whole demo on a small machine: one core and 512 MB for its Docker daemon, the server, the command line and the containers
# together. They run in a control group of that size; what is compiled is compiled before, outside of it.
#
# Run with `sh benches/small.sh`, as root, where no Docker daemon runs yet. Results are told as benches/support/mod.rs says.
set -eu
cd "$(dirname "$0")/.."
skip() { echo "SKIPPED: the demo on one core and 512 MB: $1"; exit 0; }
if [ "$(id -u)" != 0 ]; then skip "only root can limit it"; fi
if ! daemon=$(command -v dockerd); then skip "there is no dockerd"; fi
if docker version >/dev/null 2>&1; then skip "a Docker daemon runs already, outside of the limits"; fi
cargo build --quiet --package xtask --package paas-server --package paas-cli
demo=${CARGO_TARGET_DIR:-target}/debug/xtask

# ---- the group: programs in SYSTEM, containers beside it, the limits above both ----

mounted=/sys/fs/cgroup
name=paas-small
system=$name/system
if [ -f $mounted/cgroup.controllers ]; then
    version=2 kinds=. memory=.
else
    version=1 kinds="cpu memory" memory=memory
fi
work=$(mktemp -d)
end() {
    "$demo" demo --stop >/dev/null 2>&1 || true
    rm -rf "$work"
    find $mounted -depth -type d -path "*/$name*" -exec rmdir {} + 2>/dev/null || true
}
trap end EXIT
trap 'exit 1' INT TERM
for kind in $kinds; do mkdir -p "$mounted/$kind/$name"; done
if [ $version = 2 ]; then
    echo "+cpu +memory" >$mounted/cgroup.subtree_control
    echo "100000 100000" >$mounted/$name/cpu.max
    echo 512000000 >$mounted/$name/memory.max
    echo 0 >$mounted/$name/memory.swap.max || true
    tr ' ' '\n' <$mounted/$name/cgroup.controllers | sed 's/^/+/' | while read -r controller; do
        echo "$controller" >$mounted/$name/cgroup.subtree_control || true
    done
else
    echo 100000 >$mounted/cpu/$name/cpu.cfs_period_us
    echo 100000 >$mounted/cpu/$name/cpu.cfs_quota_us
    echo 1 >$mounted/memory/$name/memory.use_hierarchy || true
    echo 512000000 >$mounted/memory/$name/memory.limit_in_bytes
fi
for kind in $kinds; do mkdir -p "$mounted/$kind/$system"; done

# ---- the demo in it ----

# The daemon that the demo starts puts its containers into the group, too.
printf '#!/bin/sh\nexec %s --cgroup-parent=/%s/containers "$@"\n' "$daemon" $name >"$work/dockerd"
chmod +x "$work/dockerd"
now() { echo $(($(date +%s%N) / 1000000)); }
begun=$(now)
(
    for kind in $kinds; do sh -c 'echo $PPID' >"$mounted/$kind/$system/cgroup.procs"; done
    PATH="$work:$PATH" exec "$demo" demo
)
took=$(($(now) - begun))

# ---- what it took ----

read_of() { awk -v key="$2" '$1 == key { print $2 }' "$mounted/$memory/$name/$1"; }
if [ $version = 2 ]; then
    held=$(read_of memory.stat anon) killed=$(read_of memory.events oom_kill)
else
    held=$(read_of memory.stat total_rss) killed=$(read_of memory.oom_control oom_kill)
fi
# result FIGURE VALUE UNIT GOAL MET
result() {
    printf 'result: {"figure":"%s","value":%s,"unit":"%s","baseline":null,"ratio":null,"goal":%s,"met":%s}\n' "$@"
}
result "the demo on one core and 512 MB, start to end" "$(awk "BEGIN { print $took / 1000 }")" s null null
result "what everything holds at its end, without pages of files" "$(awk "BEGIN { print $held / 1e6 }")" MB null null
result "killed for want of memory" "$killed" "" '"<= 0"' "$([ "$killed" = 0 ] && echo true || echo false)"
