#!/bin/sh
# Runs a command as a user of its own without any rights, who has subordinate ids. Called by tests as root, in a mount
# namespace that is thrown away:
#   unshare --mount sh as_plain_user.sh SCRATCH UID "NEEDED..." COMMAND...
# The user, its ids and its home (SCRATCH/home) exist only there. NEEDED folders may lie below ones that only root may enter.
set -eu
scratch=$1 uid=$2 needed=$3
shift 3
{ cat /etc/passwd; echo "plain:x:$uid:$uid::$scratch/home:/bin/sh"; } >"$scratch/passwd"
{ cat /etc/group; echo "plain:x:$uid:"; } >"$scratch/group"
echo "plain:1000000000:65536" >"$scratch/ids"
mkdir -p "$scratch/home"
chown "$uid:$uid" "$scratch/home"
mount --bind "$scratch/passwd" /etc/passwd
mount --bind "$scratch/group" /etc/group
mount --bind "$scratch/ids" /etc/subuid
mount --bind "$scratch/ids" /etc/subgid

number=0
for folder in $needed; do
    number=$((number + 1))
    mkdir "$scratch/hold$number"
    mount --bind "$folder" "$scratch/hold$number"
done
for folder in $needed; do
    closed=
    above=$folder
    while [ "$above" != / ]; do
        above=$(dirname "$above")
        case $(stat -c %A "$above") in *[xt]) ;; *) closed=$above ;; esac
    done
    [ -z "$closed" ] || mount -t tmpfs -o mode=755 opened "$closed"
done
number=0
for folder in $needed; do
    number=$((number + 1))
    [ -d "$folder" ] || { mkdir -p "$folder" && mount --bind "$scratch/hold$number" "$folder"; }
done
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups env -i PATH="$PATH" HOME="$scratch/home" "$@"
