"""The shells around the core: sockets, files and the loops that join them. Linux only, nothing clever."""
