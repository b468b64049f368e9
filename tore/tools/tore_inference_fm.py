"""The official inference script's name and flags: `tore infer` with the official focal length."""

import sys

from tore.cli.infer import official_main

if __name__ == "__main__":
    sys.exit(official_main())
