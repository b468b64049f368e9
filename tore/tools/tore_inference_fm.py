"""The official inference script's name and flags: `tore infer`."""

import sys

from tore.cli.infer import main

if __name__ == "__main__":
    sys.exit(main())
