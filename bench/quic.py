"""One file over one QUIC stream with aioquic or qh3 (same interface):
``python3 -m bench.quic MODULE serve|send HOST PORT FILE``.

Both run as their documentation shows: asyncio streams, default flow control raised to 8 MB. The server answers one byte
when the whole file is written.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import ssl
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CHUNK_BYTES = 262_144
FLOW_BYTES = 8_388_608


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = builder.sign(key, hashes.SHA256())
    paths = folder / "quic.crt", folder / "quic.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def configuration(module: str, is_client: bool) -> Any:
    """The configuration of either end."""
    quic = importlib.import_module(f"{module}.quic.configuration")
    settings = quic.QuicConfiguration(
        is_client=is_client, alpn_protocols=["bench"], max_data=FLOW_BYTES, max_stream_data=FLOW_BYTES
    )
    if is_client:
        settings.verify_mode = ssl.CERT_NONE
    return settings


async def serve(module: str, address: tuple[str, int], target: Path) -> None:
    """Write what arrives on a stream to ``target``, answer one byte."""
    endpoint = importlib.import_module(f"{module}.asyncio")
    settings = configuration(module, is_client=False)
    settings.load_cert_chain(*certificate(target.parent.parent))
    tasks = set()

    async def store(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with target.open("wb") as file:
            while chunk := await reader.read(CHUNK_BYTES):
                file.write(chunk)
        writer.write(b"1")
        writer.write_eof()

    def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(store(reader, writer)))

    await endpoint.serve(*address, configuration=settings, stream_handler=handle)
    await asyncio.Event().wait()


async def send(module: str, address: tuple[str, int], source: Path) -> None:
    """Send ``source`` over one stream and wait for the answer."""
    endpoint = importlib.import_module(f"{module}.asyncio")
    async with endpoint.connect(*address, configuration=configuration(module, is_client=True)) as connection:
        reader, writer = await connection.create_stream()
        with source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                writer.write(chunk)
                await asyncio.sleep(0)
        writer.write_eof()
        if await reader.read() != b"1":
            raise SystemExit("the server did not confirm")


if __name__ == "__main__":
    library, verb, host, port, path = sys.argv[1:]
    role = {"serve": serve, "send": send}[verb]
    asyncio.run(role(library, (host, int(port)), Path(path)))
