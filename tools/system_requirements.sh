#!/bin/sh
# Finds what the project needs of the system, installs it where that can be done (root, apt), and otherwise says what to install.
#
#   tools/system_requirements.sh python   a Python for the virtual environment; prints its path
#   tools/system_requirements.sh lab      the programs that playbooks and the embedded lab call
#   tools/system_requirements.sh test     those, and what the tests look with or try besides
#   tools/system_requirements.sh matrix   those, and what Debian hosts made of this machine's files need
#   tools/system_requirements.sh browser  Chromium and its driver, in which the tests open the report
set -eu
PATH="$PATH:/usr/sbin:/sbin" # a plain user's PATH often lacks ip and debugfs

OLDEST_PYTHON=3.11

# A name on PATH proves nothing (pyenv leaves names that only fail), so each candidate is run.
find_python() {
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.14; do
        if "$candidate" - "$OLDEST_PYTHON" 2>/dev/null <<'PROBE'
import ensurepip, sys, venv
oldest = tuple(int(part) for part in sys.argv[1].split("."))
sys.exit(sys.version_info[:2] < oldest or sys.prefix != sys.base_prefix)
PROBE
        then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# Program and the Debian package that brings it, one pair a line.
lab_programs() {
    cat <<'PAIRS'
debugfs e2fsprogs
flock util-linux
ip iproute2
mount mount
prlimit util-linux
sftp openssh-client
ssh openssh-client
ssh-keygen openssh-client
unshare util-linux
PAIRS
}

test_programs() {
    lab_programs
    cat <<'PAIRS'
newuidmap uidmap
nft nftables
tcpdump tcpdump
tshark tshark
PAIRS
}

matrix_programs() {
    test_programs
    cat <<'PAIRS'
sshd openssh-server
systemctl systemd
PAIRS
}

missing_programs() {
    {
        "$1_programs" | while read -r program package; do
            command -v "$program" >/dev/null || echo "$package"
        done
        # The hosts' Python needs it too; the lab lends them this machine's.
        ldconfig -p | grep -q libffi.so.8 || echo libffi8
    } | sort -u | tr '\n' ' '
}

missing_browser() {
    browser=chromium driver=chromium-driver
    if grep -qs '^ID=ubuntu$' /etc/os-release; then
        browser=chromium-browser driver=chromium-chromedriver
    fi
    command -v chromium >/dev/null || echo "$browser"
    command -v chromedriver >/dev/null || echo "$driver"
}

missing() {
    case "$1" in
    python) find_python >/dev/null || echo "python3 python3-venv" ;;
    browser) missing_browser | tr '\n' ' ' ;;
    *) missing_programs "$1" ;;
    esac
}

install() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing what the system lacks: $*" >&2
        apt-get update -qq >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
    fi
}

complain() {
    echo "udpxfer-lab needs programs this system lacks. Debian and Ubuntu: sudo apt-get install $*" >&2
    if [ "$1" = python3 ]; then
        echo "Python must be $OLDEST_PYTHON or newer, with venv and ensurepip; found: $(python3 --version 2>&1 || true)" >&2
    fi
    exit 1
}

case "${1:-}" in
python | lab | test | matrix | browser) ;;
*)
    echo "usage: $0 python|lab|test|matrix|browser" >&2
    exit 2
    ;;
esac

packages=$(missing "$1")
# shellcheck disable=SC2086 # package names are words
if [ -n "$packages" ]; then
    install $packages
    packages=$(missing "$1")
    [ -z "$packages" ] || complain $packages
fi
[ "$1" != python ] || find_python
