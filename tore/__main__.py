"""`python -m tore`: the same as the `tore` command."""

import sys

from tore.cli import main

if __name__ == "__main__":
    sys.exit(main())
