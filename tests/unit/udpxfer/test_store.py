"""The store: whole or not at all, never outside its directory, and resumed only from what was durable."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from udpxfer.core.geometry import RECORD_BYTES
from udpxfer.core.sessions import Limits
from udpxfer.core.wire import Offer
from udpxfer.errors import Code, TransferError
from udpxfer.io.store import Incoming, Store

CONTENT = os.urandom(3 * RECORD_BYTES + 5)


def offer_of(size: int, name: str = "image.png", label: str = "", source: bytes = b"s") -> Offer:
    """An offer of a file."""
    return Offer(1472, size, source * 16, label, name)


OFFER = offer_of(len(CONTENT), label="run/mode")


def write_all(incoming: Incoming, content: bytes = CONTENT) -> None:
    """Write every record of ``content``."""
    for record in range(-(-len(content) // RECORD_BYTES)):
        incoming.write(record, memoryview(content)[record * RECORD_BYTES : (record + 1) * RECORD_BYTES])


def die_while_publishing(incoming: Incoming, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write and sync all of CONTENT, then publish as far as to this call of `os`, which fails."""
    write_all(incoming)
    incoming.sync(incoming.take_unsynced())
    with monkeypatch.context() as patch:
        patch.setattr(os, call, lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "dies here")))
        with pytest.raises(TransferError):
            incoming.publish()


def files(directory: Path) -> list[str]:
    """All files below ``directory``."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def code_of(error: pytest.ExceptionInfo[TransferError]) -> Code:
    """The stable code of a caught error."""
    return error.value.code


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store without limits in ``tmp_path``."""
    return Store(str(tmp_path), Limits())


def test_nothing_shows_before_it_is_whole(store: Store, tmp_path: Path) -> None:
    incoming = store.create(OFFER, ())
    incoming.preallocate()
    write_all(incoming)
    assert not (tmp_path / "run/mode/image.png").exists()
    incoming.publish()
    incoming.close(keep=False)
    assert (tmp_path / "run/mode/image.png").read_bytes() == CONTENT
    assert files(tmp_path) == ["run/mode/image.png"]


def test_an_existing_file_is_never_touched(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "run/mode/image.png"
    incoming = store.create(OFFER, ())
    write_all(incoming)
    target.write_bytes(b"precious")
    with pytest.raises(TransferError) as error:
        incoming.publish()
    incoming.close(keep=False)
    assert code_of(error) is Code.FILE_EXISTS
    with pytest.raises(TransferError) as error:
        store.plan(OFFER)
    assert code_of(error) is Code.FILE_EXISTS
    assert target.read_bytes() == b"precious"
    assert files(tmp_path) == ["run/mode/image.png"]


def test_overwrite_replaces(tmp_path: Path) -> None:
    store = Store(str(tmp_path), Limits(overwrite=True))
    (tmp_path / "run/mode").mkdir(parents=True)
    (tmp_path / "run/mode/image.png").write_bytes(b"old")
    assert store.plan(OFFER).stored == ()
    incoming = store.create(OFFER, ())
    write_all(incoming)
    incoming.publish()
    incoming.close(keep=False)
    assert (tmp_path / "run/mode/image.png").read_bytes() == CONTENT


def test_resume_takes_what_was_synced_and_only_that(store: Store, tmp_path: Path) -> None:
    incoming = store.create(OFFER, ())
    view = memoryview(CONTENT)
    incoming.write(0, view[:RECORD_BYTES])
    incoming.write(2, view[2 * RECORD_BYTES : 3 * RECORD_BYTES])
    incoming.sync(incoming.take_unsynced())
    incoming.write(1, view[RECORD_BYTES : 2 * RECORD_BYTES])  # never synced: does not count
    incoming.close(keep=True)
    stored = store.plan(OFFER).stored
    assert stored == ((0, 0), (2, 2))
    again = store.create(OFFER, stored)
    again.write(1, view[RECORD_BYTES : 2 * RECORD_BYTES])
    again.write(3, view[3 * RECORD_BYTES :])
    again.publish()
    again.close(keep=False)
    assert (tmp_path / "run/mode/image.png").read_bytes() == CONTENT


def test_another_source_starts_over(store: Store) -> None:
    incoming = store.create(OFFER, ())
    write_all(incoming)
    incoming.sync(incoming.take_unsynced())
    incoming.close(keep=True)
    assert store.plan(OFFER).stored == ((0, 3),)
    assert store.plan(offer_of(len(CONTENT), label="run/mode", source=b"t")).stored == ()
    assert store.plan(offer_of(len(CONTENT) + 1, label="run/mode")).stored == ()


def test_a_journal_cut_at_any_byte_is_believed_only_as_far_as_it_is_whole(store: Store, tmp_path: Path) -> None:
    incoming = store.create(OFFER, ())
    for record in range(4):
        incoming.write(record, memoryview(CONTENT)[record * RECORD_BYTES : (record + 1) * RECORD_BYTES])
        incoming.sync(incoming.take_unsynced())
    incoming.close(keep=True)
    (journal,) = (tmp_path / "run/mode").glob(".udpxfer-*.journal")
    whole = journal.read_bytes()
    entries = whole.index(b"\n") + 1
    for length in range(len(whole)):
        journal.write_bytes(whole[:length])
        count = max(length - entries, 0) // 12
        assert store.plan(OFFER).stored == (((0, count - 1),) if count else ())
    journal.write_bytes(whole[:entries] + bytes([whole[entries] ^ 1]) + whole[entries + 1 :])
    assert store.plan(OFFER).stored == ()


def test_a_sender_that_was_not_told_learns_after_a_crash_that_its_file_is_published(
    store: Store, tmp_path: Path
) -> None:
    incoming = store.create(OFFER, ())
    write_all(incoming)
    incoming.publish()  # and now the receiver dies: nothing is closed
    again = Store(str(tmp_path), Limits())
    assert again.plan(OFFER).published
    with pytest.raises(TransferError) as error:
        again.plan(offer_of(len(CONTENT), label="run/mode", source=b"t"))
    assert code_of(error) is Code.FILE_EXISTS
    again.sync_published(OFFER)
    again.discard(OFFER)
    assert files(tmp_path) == ["run/mode/image.png"]
    with pytest.raises(TransferError) as error:
        again.plan(OFFER)
    assert code_of(error) is Code.FILE_EXISTS


def test_a_file_that_somebody_put_in_the_place_of_the_published_one_is_not_taken_for_it(
    store: Store, tmp_path: Path
) -> None:
    incoming = store.create(OFFER, ())
    write_all(incoming)
    incoming.publish()
    (tmp_path / "run/mode/image.png").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(TransferError) as error:
        store.plan(OFFER)
    assert code_of(error) is Code.FILE_EXISTS


def test_a_sweep_removes_the_rests_of_what_is_published_and_nothing_else(store: Store, tmp_path: Path) -> None:
    published, partial = store.create(OFFER, ()), store.create(offer_of(len(CONTENT), "other"), ())
    write_all(published)
    published.publish()
    partial.write(0, memoryview(CONTENT)[:RECORD_BYTES])
    partial.sync(partial.take_unsynced())
    published.close(keep=True)
    partial.close(keep=True)
    before = files(tmp_path)
    store.sweep()
    assert files(tmp_path) == before, "what this process has written"
    Store(str(tmp_path), Limits()).sweep()
    gone = set(before) - set(files(tmp_path))
    assert len(gone) == 1
    assert gone.pop().endswith(".journal")
    assert store.plan(offer_of(len(CONTENT), "other")).stored == ((0, 0),)


def test_a_sweep_leaves_a_file_that_is_continued_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = store.create(OFFER, ())
    die_while_publishing(incoming, "link", monkeypatch)
    incoming.close(keep=True)
    again = Store(str(tmp_path), Limits())
    continued = again.create(OFFER, again.plan(OFFER).stored)
    again.sweep()
    continued.publish()
    continued.close(keep=False)
    assert (tmp_path / "run/mode/image.png").read_bytes() == CONTENT


def test_a_journal_goes_on_where_it_is_whole(store: Store, tmp_path: Path) -> None:
    incoming = store.create(OFFER, ())
    incoming.write(0, memoryview(CONTENT)[:RECORD_BYTES])
    incoming.sync(incoming.take_unsynced())
    incoming.close(keep=True)
    (journal,) = (tmp_path / "run/mode").glob(".udpxfer-*.journal")
    journal.write_bytes(journal.read_bytes() + b"torn")
    again = store.create(OFFER, store.plan(OFFER).stored)
    again.write(1, memoryview(CONTENT)[RECORD_BYTES : 2 * RECORD_BYTES])
    again.sync(again.take_unsynced())
    again.close(keep=True)
    assert store.plan(OFFER).stored == ((0, 1),)


def test_what_a_part_has_on_disk_already_needs_no_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(f_bavail=len(CONTENT) + RECORD_BYTES, f_frsize=1, f_blocks=0)
    monkeypatch.setattr(os, "fstatvfs", lambda _: free)
    incoming = store.create(OFFER, ())
    write_all(incoming)
    incoming.close(keep=True)  # and nothing of it was synced
    free.f_bavail = RECORD_BYTES
    store.plan(OFFER)


def test_a_part_that_got_its_name_just_before_a_crash_is_never_written_to_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between `link` and `unlink` the part and the published file are one: a new part must be a new file."""
    incoming = store.create(OFFER, ())
    die_while_publishing(incoming, "unlink", monkeypatch)
    moved = tmp_path / "moved"
    (tmp_path / "run/mode/image.png").rename(moved)
    assert store.plan(OFFER).stored == ()
    again = store.create(OFFER, ())
    again.write(0, memoryview(bytes(RECORD_BYTES)))
    assert moved.read_bytes() == CONTENT


def test_discarding_leaves_nothing(store: Store, tmp_path: Path) -> None:
    incoming = store.create(OFFER, ())
    write_all(incoming)
    incoming.close(keep=False)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b", "a\nb", "x" * 256, ".udpxfer-x", "\udcff"]
)
def test_bad_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(TransferError) as error:
        store.plan(offer_of(1, name))
    assert code_of(error) is Code.BAD_NAME


@pytest.mark.parametrize("label", ["..", "a/..", "/a", "a/", "a/b/c", "a//b", ".a", "a b", "x" * 65, "a\n"])
def test_bad_labels_are_refused(store: Store, label: str) -> None:
    with pytest.raises(TransferError) as error:
        store.plan(offer_of(1, "name", label))
    assert code_of(error) is Code.BAD_LABEL


@pytest.mark.parametrize("name", ["a b", "-rf", "ü", "日本", "x" * 255, "a=b:c", ".hidden", "'\"`$(id)"])
def test_unusual_names_are_kept(store: Store, tmp_path: Path, name: str) -> None:
    offer = offer_of(len(CONTENT), name)
    assert store.plan(offer).stored == ()
    incoming = store.create(offer, ())
    write_all(incoming)
    incoming.publish()
    incoming.close(keep=False)
    assert files(tmp_path) == [name]


def test_symbolic_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (tmp_path / "run").symlink_to(outside)
    with pytest.raises(TransferError) as error:
        store.create(OFFER, ())
    assert code_of(error) is Code.STORE_FAILED
    assert list(outside.iterdir()) == []


def test_a_dangling_link_counts_as_existing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "name").symlink_to("nowhere")
    with pytest.raises(TransferError) as error:
        store.plan(offer_of(1, "name"))
    assert code_of(error) is Code.FILE_EXISTS


def test_limits(tmp_path: Path) -> None:
    store = Store(str(tmp_path), Limits(file_bytes=100, total_bytes=150))
    with pytest.raises(TransferError) as error:
        store.plan(offer_of(101))
    assert code_of(error) is Code.FILE_TOO_LARGE
    store.create(offer_of(100), ()).close(keep=False)
    store.plan(offer_of(100, "a part that is gone counts no more"))
    store.create(offer_of(100), ()).close(keep=True)
    store.create(offer_of(100), ()).close(keep=True)  # what is sent again counts once
    store.create(offer_of(100), ()).publish()
    with pytest.raises(TransferError) as error:
        store.plan(offer_of(51, "other"))
    assert code_of(error) is Code.TOTAL_LIMIT
    store.plan(offer_of(50, "other"))


def test_a_file_that_does_not_fit_is_refused_before_a_byte_is_sent(store: Store) -> None:
    with pytest.raises(TransferError) as error:
        store.plan(offer_of(2**50))
    assert code_of(error) is Code.DISK_FULL


def test_what_a_file_on_its_way_still_needs_is_not_promised_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(CONTENT)
    free = SimpleNamespace(f_bavail=size + size // 2, f_frsize=1, f_blocks=0)
    monkeypatch.setattr(os, "fstatvfs", lambda _: free)
    other = offer_of(size, "other")
    incoming = store.create(OFFER, ())
    with pytest.raises(TransferError) as error:
        store.plan(other)
    assert code_of(error) is Code.DISK_FULL
    write_all(incoming)
    store.plan(other)  # what is written, the file system counts itself
    store.create(offer_of(size, "third"), ()).close(keep=True)
    store.plan(other)


def test_a_file_system_without_hard_links(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_link)
    incoming = store.create(OFFER, ())
    write_all(incoming)
    incoming.publish()
    incoming.close(keep=False)
    assert files(tmp_path) == ["run/mode/image.png"]
