#!/bin/sh
# Makes the current namespaces an Alpine host and becomes its init. Run by the holder in new net, mount, pid, uts and ipc
# namespaces: sh host-init.sh NAME ROOT. ROOT is the host's mounted overlay. One line on standard input says: port is there.
set -eu
name=$1 root=$2
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"

mount -t tmpfs -o nosuid,mode=755,size=1m dev "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o nosuid,nodev,mode=755 run "$root/run"

# A boot id of its own, by which Ansible sees that the host has rebooted.
cat /proc/sys/kernel/random/uuid >"$root/run/.boot_id"
mount --bind "$root/run/.boot_id" "$root/proc/sys/kernel/random/boot_id"
chroot "$root" hostname "$name" # a system call: /proc/sys/kernel/hostname is not for who is root in a namespace only

read -r _
# Alpine's ifup would wait 1 to 2 s for duplicate address detection of IPv6.
for setting in /proc/sys/net/ipv6/conf/*/accept_dad; do
    [ ! -e "$setting" ] || echo 0 >"$setting"
done

cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=lxc /sbin/init </dev/null
