"""udpxfer: encrypted, durable file transfer over UDP."""

__version__ = "0.1.0"
