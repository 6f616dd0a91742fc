#!/usr/bin/env python3
"""Start of the lab program, so that it runs from any folder: python3 .../lab.py --help."""

from alpinelab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
