#!/bin/sh
# Installs the packages of the extra `fuzz` beside .venv: they exist for few systems, so requirements.lock does not name them.
set -eu
cd "$(dirname "$0")/.."

packages=$(.venv/bin/python -c 'import tomllib
print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fuzz"]))')
if [ -e .cache/fuzz/installed ] && [ "$(cat .cache/fuzz/installed)" = "$packages" ]; then
    exit 0
fi
rm -rf .cache/fuzz
mkdir -p .cache
echo "$packages" >.cache/fuzz.requirements
if ! .venv/bin/python -m pip install -qq --disable-pip-version-check --target .cache/fuzz -r .cache/fuzz.requirements; then
    echo "The fuzzer could not be installed (see above). Needed: the package index PyPI, Linux, CPython 3.11 to 3.13." >&2
    exit 1
fi
mv .cache/fuzz.requirements .cache/fuzz/installed
