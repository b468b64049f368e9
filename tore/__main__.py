"""`python -m tore`: the same as the `tore` command."""

from __future__ import annotations

import sys

from tore.cli import main

if __name__ == "__main__":
    sys.exit(main())
