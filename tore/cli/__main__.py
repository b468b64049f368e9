"""`python -m tore.cli`: the `tore` command."""

import sys

from tore.cli import main

if __name__ == "__main__":
    sys.exit(main())
