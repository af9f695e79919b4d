# The first process of a host: makes its view of the machine, says so, and then only waits, as bash does for every process that has lost its parent.
set -eu
dir=$1 name=$2
mount --make-rprivate /

# Copies of what other engines have mounted, and of network namespaces, would keep these alive after their owners have let go of them.
awk '$3 == "overlay" || $3 == "nsfs" || $1 == "shm" || $2 ~ /^\/run\// { print $2 }' /proc/self/mounts | tac | while read -r at; do
	umount -l "$(printf %b "$at")" 2>/dev/null || true
done

# Sockets and pid files are the host's own, at their usual paths; so is what an engine writes to /etc/docker.
mount --bind "$dir/run" /run
[[ ! -d /etc/docker ]] || mount --bind "$dir/etc" /etc/docker

# /proc with the host's processes, /sys with its interfaces; the control groups below /sys stay the machine's.
mount -t proc proc /proc
echo 0 >/proc/sys/net/ipv4/ip_forward # as a machine starts; Docker has FORWARD drop what nobody lets through only when it finds it so
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount -l /run/cgroup
rmdir /run/cgroup

# A disk of its own, for the volumes alone: layers of images are the same files on all hosts.
if [[ -f $dir/disk ]]; then
	mkdir -p "$dir/data/docker/volumes"
	mount --bind "$dir/data/docker" "$dir/data/docker" # the engine does so if nobody else has, and would not see what is mounted below
	mount -o loop "$dir/disk" "$dir/data/docker/volumes"
	rmdir "$dir/data/docker/volumes/lost+found" 2>/dev/null || true # the engine would take it for a volume
fi

hostname "$name"
mkfifo "$dir/run/never"
exec 3<>"$dir/run/never"
echo ready
exec </dev/null >/dev/null 2>&1
while :; do
	read -r _ <&3 || true
done
