"""The main job on hosts with every Python from the oldest supported on, and the oldest packages on the oldest of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.matrix.hosts import DebianHosts
from tests.matrix.pythons import interpreter
from tests.matrix.test_debian import document, inventory, play
from tests.project import ROOT, run

pytestmark = pytest.mark.timeout(1800)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = PROJECT["project"]["dependencies"]
VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]


def lend(debian: DebianHosts, name: str, version: str, prefix: str, packages: str) -> None:
    """Makes this machine's Python of a version the host's first one, with the two packages the program needs."""
    base, venv = f"/opt/python{version}", f"/opt/venv{version}"
    debian.shell(
        name,
        f"""set -e
        mkdir -p {base} /usr/local/bin
        mount --bind {prefix} {base}
        echo {base}/lib >/etc/ld.so.conf.d/python{version}.conf
        ldconfig
        {base}/bin/python{version} -m venv --without-pip {venv}
        cp -r {packages}/. {venv}/lib/python{version}/site-packages/
        printf '#!/bin/sh\\nexec {venv}/bin/python "$@"\\n' >/tmp/python3
        chmod 755 /tmp/python3
        mv /tmp/python3 /usr/local/bin/python3
        """,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_main_job(debian: DebianHosts, tmp_path: Path, image_url: str, version: str) -> None:
    found = interpreter(version)
    prefix = run(found, "-c", "import sys; print(sys.base_prefix)").stdout.strip()
    packages = tmp_path / "packages"
    command = ["uv", "pip", "install", "--quiet", "--python", found, "--target", str(packages)]
    if version == VERSIONS[0]:  # and the oldest packages, such as Debian 11 has
        command += ["--resolution", "lowest-direct"]
    installed = run(*command, *DEPENDENCIES)
    assert installed.returncode == 0, installed.stdout
    copied = f"/tmp/packages-{version}"
    for name in debian.addresses:
        debian.copy(name, packages, copied)
        lend(debian, name, version, prefix, copied)
    hosts = inventory(
        debian, tmp_path, image_url, ansible_user="root", ansible_python_interpreter="/usr/local/bin/python3"
    )
    result = play(tmp_path, hosts, "run_all.yml")
    assert result.status == 0, result.explain()
    run_document = document(tmp_path)
    assert run_document["verdict"] == {"passed": True, "reasons": []}
    assert all(host["python"].startswith(f"{version}.") for host in run_document["hosts"])  # type: ignore[attr-defined]
