#!/bin/sh
# Makes .venv from requirements.lock; quick when it is current. The stamp is written last, so a broken installation is made anew.
set -eu
cd "$(dirname "$0")/.."

stamp() {
    echo "$PWD" # scripts in .venv/bin hold the absolute path
    cat requirements.lock
}

is_current() {
    stamp | cmp -s - .venv/installed && .venv/bin/python -c ""
}

if is_current; then
    exit 0
fi
python=$(tools/system_requirements.sh python)
# Two makes at once: one installs, the other waits and finds it done.
mkdir -p .cache
exec 9>.cache/venv.lock
flock 9
if is_current; then
    exit 0
fi
echo "Installing Python packages into .venv (the first time takes a minute)" >&2
rm -rf .venv
"$python" -m venv .venv
# Bytecode is made when first used: compiling all of ansible's collections would double the time.
if ! .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements.lock; then
    echo "Python packages could not be installed (see above). Needed: the package index PyPI, or pip's own settings for a mirror." >&2
    exit 1
fi
stamp >.venv/installed
