"""The protocol core: bytes and a time go in; bytes, events and the next deadline come out. No I/O, clock or randomness."""
