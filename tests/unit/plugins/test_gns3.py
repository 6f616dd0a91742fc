"""GNS3's parts that need no server: filters of a link, a host's address file, error texts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils import gns3_api, gns3_project
from ansible.module_utils.gns3_api import Gns3Error


def link(to_host: dict[str, Any], from_host: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"node": "alpine-1", "to_host": to_host, "from_host": to_host if from_host is None else from_host}


def test_filters_are_those_of_gns3() -> None:
    assert gns3_project.filters_of(link({})) == {}
    assert gns3_project.filters_of(link({"loss_pct": 3, "corrupt_pct": 1.0})) == {"corrupt": [1], "packet_loss": [3]}


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (link({"delay_ms": 5, "loss_pct": 1}), "alpine-1.*cannot do delay_ms"),
        (link({}, {"rate_mbit": 5, "queue_kb": 9}), "cannot do queue_kb, rate_mbit"),
        (link({"loss_pct": 1}, {"loss_pct": 2}), "both directions"),
        (link({"loss_pct": 1}, {}), "both directions"),
        (link({"loss_pct": 0.4}), "whole percents.*loss_pct: 0.4"),
    ],
)
def test_what_gns3_cannot_do_is_refused_with_a_way_out(wanted: dict[str, Any], why: str) -> None:
    with pytest.raises(Gns3Error, match=f"{why}.*embedded lab"):
        gns3_project.filters_of(wanted)


def test_address_file() -> None:
    assert gns3_project.interfaces_file("10.0.0.11", "10.0.0.1/25", "9.9.9.9") == (
        "auto eth0\niface eth0 inet static\n\taddress 10.0.0.11\n\tnetmask 255.255.255.128\n\tgateway 10.0.0.1\n"
        "\tup echo nameserver 9.9.9.9 > /etc/resolv.conf\n"
    )
    assert "resolv.conf" not in gns3_project.interfaces_file("10.0.0.11", "10.0.0.1/25", "")


def test_a_projects_id_follows_from_its_name() -> None:
    assert gns3_project.own_project_id("a") == gns3_project.own_project_id("a") != gns3_project.own_project_id("b")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"message": "no such thing."}', "no such thing"),
        (b'{"detail": [{"loc": ["body"]}]}', "[{'loc': ['body']}]"),
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b"", ""),
        (b"\xff", "\ufffd"),
    ],
)
def test_every_form_of_error_has_words(answer: bytes, said: str) -> None:
    assert gns3_api._message_of(answer) == said
