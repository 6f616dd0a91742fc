"""GNS3's REST API in its versions 2 and 3, as far as a lab needs it, and what to do about the errors it reports."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

# What GNS3 says, in small letters, and what helps. The first that fits is taken.
FIXES = (
    (
        "can't connect to docker",
        "Install Docker on the GNS3 machine, let GNS3's user into the group `docker`, restart GNS3.",
    ),
    (
        "cannot connect to unix socket",
        "Install Docker on the GNS3 machine, let GNS3's user into the group `docker`, restart GNS3.",
    ),
    ("gns3 vm not configured", "Set up the GNS3 VM in GNS3's preferences, or set lab_gns3_compute to local."),
    (
        "compute",
        "Set lab_gns3_compute to the id of a compute of this server (local, or vm for the GNS3 VM of version 2).",
    ),
    ("busybox executable", "On the GNS3 machine: apt install busybox-static, then restart GNS3."),
    (
        "nat interface",
        (
            "On the GNS3 machine: apt install libvirt-daemon-system dnsmasq, then virsh net-start default; or name another bridge by "
            "default_nat_interface in the section [Server] of gns3_server.conf."
        ),
    ),
    ("dynamips", "Install dynamips on the GNS3 machine, or set lab_gns3_switch to cloud."),
    ("ubridge requires", "Let GNS3's user into the group `ubridge` and log in again, or set uBridge's capabilities."),
    ("ubridge is not available", "Install uBridge on the GNS3 machine (package ubridge of the GNS3 PPA)."),
    (
        "could not be found on this system",
        "Create that bridge on the GNS3 machine, or name another one in lab_gns3_switch_interface.",
    ),
    (
        "executable file not found",
        "The image lacks the start command: correct lab_gns3_start_command or build the image anew.",
    ),
)


class Gns3Error(Exception):
    """What happened, where, and what to do; shown to the user as it is."""


class Api:
    """One GNS3 server. Every call is a connection of its own, so threads may share an object."""

    def __init__(
        self, url: str, user: str = "", password: str = "", *, validate_certs: bool = True, timeout_s: float = 60
    ) -> None:
        """``connect`` must come before any other call; timeout_s is for one call."""
        self.url = url.rstrip("/")
        self.version = ""
        self._root = ""
        self._user = user
        self._password = password
        self._validate_certs = validate_certs
        self._timeout_s = timeout_s
        self._authorization = ""

    @property
    def is_v3(self) -> bool:
        """True for version 3 of the API."""
        return self._root == "/v3"

    def connect(self) -> None:
        """Find out the API's version and log in. Raises Gns3Error."""
        for root in ("/v3", "/v2"):
            status, answer = self._send("GET", f"{root}/version")
            if status != 404:
                self._root = root
                break
        else:
            raise Gns3Error(
                f"{self.url} answers, but not as a GNS3 server does (no /v3/version, no /v2/version). Correct lab_gns3_url."
            )
        if self.is_v3:
            login = {"username": self._user, "password": self._password}
            token = self._checked(
                "POST", "/v3/access/users/authenticate", *self._send("POST", "/v3/access/users/authenticate", login)
            )
            self._authorization = f"Bearer {token['access_token']}"
        elif self._user:
            self._authorization = "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
            status, answer = self._send("GET", "/v2/version")
        version = self._checked("GET", f"{self._root}/version", status, answer)
        self.version = str(version["version"])

    def get(self, path: str) -> Any:
        """The answer as data. Raises Gns3Error."""
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """The answer as data, None when there is none. Version 3 refuses some calls without a body. Raises Gns3Error."""
        return self.call("POST", path, {} if body is None else body)

    def put(self, path: str, body: Any) -> Any:
        """The answer as data. Raises Gns3Error."""
        return self.call("PUT", path, body)

    def delete(self, path: str) -> Any:
        """The answer as data. Raises Gns3Error."""
        return self.call("DELETE", path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; path is relative to the API's version. Raises Gns3Error."""
        return self._checked(method, path, *self._send(method, self._root + path, body))

    def get_file(self, path: str) -> bytes | None:
        """A file of a node or project, None when there is none. Raises Gns3Error."""
        status, content = self._send("GET", self._root + quote(path))
        if status == 404:
            return None
        if status >= 300:
            self._checked("GET", path, status, content)
        return content

    def post_file(self, path: str, content: bytes) -> None:
        """Write a file of a node. Raises Gns3Error."""
        self._checked("POST", path, *self._send("POST", self._root + quote(path), content))

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        headers = {"Authorization": self._authorization} if self._authorization else {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        try:
            with open_url(
                self.url + path,
                data=data,
                headers=headers,
                method=method,
                timeout=self._timeout_s,
                validate_certs=self._validate_certs,
                use_proxy=False,
            ) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
        except SSLValidationError as error:
            raise Gns3Error(
                f"The certificate of {self.url} is not trusted: {error} Install its authority, or set lab_gns3_validate_certs to false."
            ) from error
        except (URLError, UrlConnectionError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Gns3Error(
                f"No GNS3 server answers at {self.url}: {reason}. Start it (gns3server, or the GNS3 application), or correct lab_gns3_url."
            ) from error

    def _checked(self, method: str, path: str, status: int, content: bytes) -> Any:
        """The answer as data; an error of the server in its own words, with a fix where one is known."""
        if status < 300:
            return json.loads(content) if content.strip() else None
        said = _message_of(content)
        if status in (401, 403):
            what = "does not accept user and password" if status == 401 else "does not let this user do that"
            raise Gns3Error(
                f"GNS3 at {self.url} {what} ({method} {path}){said and ': ' + said}. Correct lab_gns3_user and lab_gns3_password."
            )
        fix = next((fix for words, fix in FIXES if words in said.lower()), "")
        raise Gns3Error(f"GNS3 {self.version} at {self.url}: {said} ({method} {path}, HTTP {status}). {fix}".rstrip())


def _message_of(content: bytes) -> str:
    """GNS3's own words, whatever form the answer has."""
    text = content.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except ValueError:
        return text[:500]
    found = document.get("message") or document.get("detail") if isinstance(document, dict) else None
    return str(found if found is not None else document).rstrip(". ")
