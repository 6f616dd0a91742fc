"""udpxfer: encrypted, durable file transfer over UDP."""

__version__ = "1.0.0"
