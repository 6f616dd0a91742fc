"""The main job on hosts with every Python from the oldest supported on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix.hosts import DebianHosts
from tests.matrix.test_debian import document, inventory, play
from tests.project import run

pytestmark = pytest.mark.timeout(1800)

VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]


def lend(debian: DebianHosts, name: str, version: str, prefix: str, packages: Path) -> None:
    """Makes this machine's Python of a version the host's first one, with the two packages the program needs."""
    debian.shell(
        name,
        f"""set -e
        mkdir -p /opt/python /usr/local/bin
        mountpoint -q /opt/python && umount /opt/python
        rm -rf /opt/venv
        mount --bind {prefix} /opt/python
        /opt/python/bin/python{version} -m venv --without-pip /opt/venv
        cp -r {packages}/. /opt/venv/lib/python{version}/site-packages/
        ln -sf /opt/venv/bin/python /usr/local/bin/python3
        """,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_main_job(debian: DebianHosts, tmp_path: Path, image_url: str, version: str) -> None:
    found = run("uv", "python", "find", "--no-python-downloads", version).stdout.strip()
    if not Path(found).exists():
        pytest.skip(f"no Python {version} on this machine")
    prefix = run(found, "-c", "import sys; print(sys.base_prefix)").stdout.strip()
    packages = tmp_path / "packages"
    command = [
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        found,
        "--target",
        str(packages),
        "requests",
        "cryptography",
    ]
    installed = run(*command)
    assert installed.returncode == 0, installed.stdout
    copied = f"/tmp/packages-{version}"
    for name in debian.addresses:
        debian.copy(name, packages, copied)
        lend(debian, name, version, prefix, Path(copied))
    hosts = inventory(
        debian, tmp_path, image_url, ansible_user="root", ansible_python_interpreter="/usr/local/bin/python3"
    )
    result = play(tmp_path, hosts, "run_all.yml")
    assert result.status == 0, result.explain()
    run_document = document(tmp_path)
    assert run_document["verdict"] == {"passed": True, "reasons": []}
    assert all(host["python"].startswith(f"{version}.") for host in run_document["hosts"])  # type: ignore[attr-defined]
