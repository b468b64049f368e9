"""The official script's name for the training of FastMETRO on hands: `tore.cli.train`."""

import sys

from tore.cli.train import training_command

main = training_command("fastmetro", "hand")

if __name__ == "__main__":
    sys.exit(main())
