from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2
import pytest
from filter import transfers

from tests.project import ROOT

ONE = "http://192.168.122.1/image1.jpg"
TWO = "http://192.168.122.1/image2.png"


def plan(images: int, clients: int, servers: int) -> list[tuple[str, str, str]]:
    urls = [f"http://host/{index}.png" for index in range(images)]
    made = transfers.transfer_plan(urls, [f"c{i}" for i in range(clients)], [f"s{i}" for i in range(servers)])
    return [(entry["image"], entry["client"], entry["server"]) for entry in made]


def test_image_i_goes_to_server_i() -> None:
    assert plan(2, 1, 2) == [("0.png", "c0", "s0"), ("1.png", "c0", "s1")]


def test_the_shorter_lists_go_round() -> None:
    assert plan(3, 2, 2) == [("0.png", "c0", "s0"), ("1.png", "c1", "s1"), ("2.png", "c0", "s0")]
    assert plan(1, 1, 3) == [("0.png", "c0", "s0")]


def test_no_plan_without_hosts() -> None:
    assert plan(2, 0, 2) == plan(2, 1, 0) == []


def test_image_name_is_the_last_part_of_the_path() -> None:
    assert transfers.image_list([ONE + "?size=1#top"]) == [{"name": "image1.jpg", "url": ONE + "?size=1#top"}]


def test_good_images_have_no_problem() -> None:
    assert transfers.image_problems([ONE, TWO]) == []


@pytest.mark.parametrize(
    ("urls", "part"),
    [
        ([], "at least one address"),
        (ONE, "must be a list"),
        ([7], "7 is no address"),
        (["ftp://host/a.png"], "begins with http:// or https://"),
        (["http:///a.png"], "is no address"),
        (["http://host/"], "ends in no usable file name"),
        (["http://host/images/"], "ends in no usable file name"),
        (["http://host/manifest.json"], "has the name of a file that each client keeps"),
        (["http://host/fetch.log"], "has the name of a file that each client keeps"),
        (["http://host/a%2F..%2F.x"], "ends in no usable file name"),
        (["http://host/" + "a" * 65], "at most 64"),
        (["http://a/x.png", "http://b/x.png"], "2 addresses end in x.png"),
    ],
)
def test_bad_images_are_named_with_their_fix(urls: object, part: str) -> None:
    problems = transfers.image_problems(urls)
    assert len(problems) == 1
    assert part in problems[0]


def test_a_clients_own_images_are_collected_with_their_manifest() -> None:
    made = transfers.transfer_plan([ONE, TWO], ["c", "d"], ["s"])
    items = transfers.images_to_collect(made, "d", "/images", "images/d")
    assert [item["path"] for item in items] == ["/images/image2.png", "/images/manifest.json", "/images/fetch.log"]
    assert items[0]["into"] == "images/d/image2.png"


HOSTVARS = {
    "s1": {"ansible_host": "10.0.0.1", "udpxfer_port": 9000},
    "s2": {"ansible_host": "10.0.0.2", "udpxfer_address": "172.16.0.2", "udpxfer_port": 9002},
    "c": {},
}


def test_address_for_transfers_wins_over_that_for_ssh_and_a_name_is_better_than_none() -> None:
    hosts = transfers.host_list(HOSTVARS, ["s1", "s2"], ["c"])
    assert [(host["address"], host["role"]) for host in hosts] == [
        ("10.0.0.1", "server"),
        ("172.16.0.2", "server"),
        ("c", "client"),
    ]
    assert transfers.host_problems(hosts) == []


def test_targets_are_those_of_the_client_at_the_port_of_the_server() -> None:
    made = transfers.transfer_plan([ONE, TWO], ["c", "d"], ["s1", "s2"])
    assert transfers.targets_of(HOSTVARS, made, "d") == ["image2.png=172.16.0.2:9002"]


def test_an_ipv6_address_gets_brackets() -> None:
    made = transfers.transfer_plan([ONE], ["c"], ["s6"])
    server = {"ansible_host": "2001:db8::1", "udpxfer_port": 9000}
    assert transfers.targets_of({"s6": server}, made, "c") == ["image1.jpg=[2001:db8::1]:9000"]


@pytest.mark.parametrize("template", ["udpxfer-receiver.conf.j2", "udpxfer-receiver.service.j2"])
def test_a_receiver_may_bind_an_ipv6_address(template: str) -> None:
    environment = jinja2.Environment()  # noqa: S701 (no HTML)
    environment.filters.update(transfers.FilterModule().filters())
    text = (ROOT / "roles" / "receiver" / "templates" / template).read_text(encoding="utf-8")
    assert "[::]:9000" in environment.from_string(text).render(
        receiver_address="::", receiver_port=9000, receiver_sources=[]
    )


@pytest.mark.parametrize(
    ("servers", "clients", "part"),
    [
        ([], ["c"], "no server. Put at least one host into its group `servers`"),
        (["s1"], [], "no client. Put at least one host into its group `clients`"),
        (["s1", "twin"], ["c"], "s1 and twin have the same address 10.0.0.1"),
    ],
)
def test_bad_inventories_are_named_with_their_fix(servers: list[str], clients: list[str], part: str) -> None:
    hosts = transfers.host_list({**HOSTVARS, "twin": {"ansible_host": "10.0.0.1"}}, servers, clients)
    problems = transfers.host_problems(hosts)
    assert len(problems) == 1
    assert part in problems[0]


def test_a_host_is_server_or_client() -> None:
    problems = transfers.host_problems(transfers.host_list(HOSTVARS, ["s1"], ["s1"]))
    assert problems == ["s1 is in the groups `servers` and `clients`. Leave it in one of them."]


MODES = ["single_thread", "multi_thread", "multi_process"]


@pytest.mark.parametrize(
    ("run", "left"),
    [
        (["all"], MODES),
        (["multi_process", "single_thread"], ["single_thread", "multi_process"]),
        (["deploy"], []),
    ],
)
def test_tags_choose_modes_in_their_own_order(run: list[str], left: list[str]) -> None:
    assert transfers.chosen_by_tags(MODES, run) == left


@pytest.mark.parametrize(
    ("run", "skip", "told"),
    [
        (["all"], [], None),
        (["deploy", "multi_thread"], ["images", "never"], None),
        (["multithread"], ["lob"], "Unknown tags: multithread, lob. Known are: lab, deploy, images, single_thread, "),
        (["tagged"], [], "Unknown tags: tagged."),
        (["untagged"], [], "Unknown tags: untagged."),
        (["all"], ["lab", "multi_thread"], "--skip-tags multi_thread would leave out what the other modes need too."),
        (["all"], ["all"], "Use --tags with the modes that shall run, of single_thread, multi_thread, multi_process."),
    ],
)
def test_tags_that_would_run_something_else_are_named(run: list[str], skip: list[str], told: str | None) -> None:
    problems = transfers.tag_problems(run, skip, ["lab", "deploy", "images"], MODES)
    assert len(problems) == (0 if told is None else 1)
    assert told is None or told in problems[0]


def test_rounds_hold_every_mode_once_and_begin_with_another_each() -> None:
    attempts = transfers.rotated_rounds(MODES, 4)
    orders = [[one["mode"] for one in attempts if one["round"] == count] for count in range(1, 5)]
    assert orders == [MODES, [*MODES[1:], MODES[0]], [MODES[2], *MODES[:2]], MODES]
    assert transfers.rotated_rounds(MODES, 1) == []
    assert transfers.rotated_rounds([], 5) == []


@pytest.mark.parametrize(("repeats", "wrong"), [(1, 0), ("10", 0), (0, 1), ("-1", 1), ("ten", 1), (1.5, 1), (None, 1)])
def test_repeats_are_a_number_of_rounds(repeats: object, wrong: int) -> None:
    assert len(transfers.repeats_problems(repeats)) == wrong


def test_digest_follows_each_file(tmp_path: Path) -> None:
    program, key = tmp_path / "program", tmp_path / "key"
    paths = [str(program), str(key)]
    seen = {transfers.files_digest(paths)}
    for path in (program, key):
        path.write_text("first")
        seen.add(transfers.files_digest(paths))
        path.write_text("second")
        seen.add(transfers.files_digest(paths))
    assert len(seen) == 5
    assert all(len(digest) == hashlib.sha256().digest_size * 2 for digest in seen)


def test_file_in_base64(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x00\xff")
    assert base64.b64decode(transfers.file_base64(str(tmp_path / "binary"))) == b"\x00\xff"


def test_a_renamed_variable_is_named_with_its_new_name() -> None:
    (problem,) = transfers.renamed_problems(["lab_gateway", "lab_nat"], {"lab_gateway": "lab_nat", "other": "x"})
    assert problem.startswith("The variable lab_gateway is called lab_nat now.")


@pytest.mark.parametrize(
    ("text", "mode", "part"),
    [
        ("ab" * 32 + "\n", 0o600, None),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", 0o600, None),
        ("ab" * 32 + "\n", 0o640, "Others may read the key"),
        ("hello\n", 0o600, "holds no key"),
    ],
)
def test_a_bad_key_is_named_with_its_fix(tmp_path: Path, text: str, mode: int, part: str | None) -> None:
    key = tmp_path / "key"
    key.write_text(text)
    key.chmod(mode)
    assert transfers.key_problems([str(key)] * 2, rotate=True) == []
    problems = transfers.key_problems([str(key)] * 2)
    assert len(problems) == (0 if part is None else 1)
    assert part is None or (part in problems[0] and "udpxfer_key_rotate=true" in problems[0])


def test_a_key_that_is_not_there_yet_is_no_problem(tmp_path: Path) -> None:
    assert transfers.key_problems([str(tmp_path / "none")]) == []
    assert transfers.key_problems([]) == []


@pytest.mark.parametrize("rotate", [False, True])
def test_two_keys_are_named_with_their_fix(rotate: bool) -> None:
    (problem,) = transfers.key_problems(["/s/servers.key", "/s/clients.key", "/s/servers.key"], rotate)
    assert "(/s/clients.key and /s/servers.key)" in problem
    assert "-e udpxfer_key_source=FILE" in problem
