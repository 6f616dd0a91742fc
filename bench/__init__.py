"""Benchmarks: udpxfer and its peers side by side in one run, on two hosts made of network namespaces."""
