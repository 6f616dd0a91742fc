#!/bin/sh
# Boots a copy of this Debian machine in namespaces of its own: an overlay over its root, systemd as init, its network shared.
# Called by hosts.py inside new mount, PID, UTS, IPC and cgroup namespaces: boot_host.sh NAME FOLDER [FILE...]; the files of the tree FOLDER/etc
# are laid over the host's. Nothing is left when its process ends: what the host writes is in memory.
set -eu
name=$1
folder=$2
work=$folder/$name

mkdir -p "$work"
mount -t tmpfs -o mode=755 "$name" "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$name" "$work/root"
cd "$work/root"

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd
fi

hostname "$name"
echo "$name" >etc/hostname
: >etc/machine-id
# Of what this machine has for a service, the host starts nothing but the SSH server.
rm -rf etc/systemd/system/*.wants etc/systemd/system/default.target etc/rc[2-5].d
mkdir etc/systemd/system/multi-user.target.wants
ln -s /lib/systemd/system/ssh.service etc/systemd/system/multi-user.target.wants/
ln -s /lib/systemd/system/multi-user.target etc/systemd/system/default.target
# Sessions without logind: where control groups are of the first version, the end of a user's manager takes two minutes here, and a login waits for it.
for service in systemd-logind dbus-org.freedesktop.login1; do
    ln -sf /dev/null etc/systemd/system/$service.service
done
cp -r "$folder/files/$name/." .

mkdir old
pivot_root . old
umount -l /old
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console --show-status=0
