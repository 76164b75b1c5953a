# Becomes one host of the bed and holds it: when this process ends, everything of the host ends. Called by cgroups.rs and
# host.rs as: host.sh join|split|settle FOLDER NUMBER, where each phase begins the next.
set -eu
phase=$1 folder=$2 number=$3

# The groups of this host in every hierarchy: one for each kind of resource in version 1, a single one in version 2.
groups() {
    for group in /sys/fs/cgroup/paas-bed/h"$number" /sys/fs/cgroup/*/paas-bed/h"$number"; do
        if [ -e "$group/cgroup.procs" ]; then echo "$group"; fi
    done
}

# What this host sees as the root of all groups is its own.
join() {
    for group in $(groups); do echo 0 > "$group/cgroup.procs"; done
    exec unshare --cgroup sh "$0" split "$folder" "$number"
}

split() {
    # In version 2 a group whose children are limited may hold no process itself.
    for group in $(groups); do echo 0 > "$group/system/cgroup.procs"; done
    exec unshare --net --mount --uts --ipc --pid --fork --propagation private sh "$0" settle "$folder" "$number"
}

mount_groups() {
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mount -t sysfs sysfs /sys
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        return
    fi
    mount -t sysfs sysfs /sys
    mount -t tmpfs cgroups /sys/fs/cgroup
    while IFS=: read -r _ controllers _; do
        case $controllers in
            '') mkdir /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified ;;
            *)
                at=/sys/fs/cgroup/${controllers#name=}
                case $controllers in name=*) controllers=none,$controllers ;; esac
                mkdir "$at" && mount -t cgroup -o "$controllers" cgroup "$at"
                ;;
        esac
    done < /proc/self/cgroup
}

# An older dockerd starts itself once more for every container, to write below this folder, and waits there for a lock
# that all hosts of this kernel share.
hide_ipv6() {
    mkdir /run/proc
    mount -t proc proc /run/proc
    mount -t tmpfs settings /proc/sys/net
    for settings in /run/proc/sys/net/*; do
        name=${settings##*/}
        if [ "$name" != ipv6 ]; then ln -s "$settings" "/proc/sys/net/$name"; fi
    done
}

settle() {
    hostname "bed$number"
    mount -t proc proc /proc
    mount_groups
    # What a daemon keeps here does not survive a crash, as on a real host.
    mount -t tmpfs -o mode=755 run /run
    mkdir /run/lock
    ln -s "$folder/docker.sock" /run/docker.sock
    # Podman keeps its locks here.
    mount -t tmpfs shm /dev/shm
    # Hosts that share the key in this folder are one host to Docker.
    mount --bind "$folder/etc-docker" /etc/docker
    hide_ipv6
    exec tini -- sleep infinity
}

"$phase"
