"""The official script's name for the training of METRO on hands: `tore.cli.train`."""

import sys

from tore.cli.train import training_command

main = training_command("metro", "hand")

if __name__ == "__main__":
    sys.exit(main())
