#!/bin/sh
# Renews requirements.lock: one file for every platform and Python from 3.11 on, with the hashes of all distributions.
set -eu
cd "$(dirname "$0")/.."

# Nothing of this machine (mirrors, local wheels, uv's own settings) may get into the file.
env -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS uv pip compile pyproject.toml --extra lab --extra dev \
    --no-config --default-index https://pypi.org/simple --no-emit-index-url \
    --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --upgrade --quiet \
    --custom-compile-command "make lock" --output-file requirements.lock
