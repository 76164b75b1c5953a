# Runs a program as one of a host's: in its groups, which joining its namespaces does not bring.
for procs in /sys/fs/cgroup/system/cgroup.procs /sys/fs/cgroup/*/system/cgroup.procs; do
    if [ -e "$procs" ]; then echo 0 > "$procs"; fi
done
exec "$@"
