"""The official script's name for the training of FastMETRO on bodies: `tore.cli.train`."""

import sys

from tore.cli.train import training_command

main = training_command("fastmetro", "body")

if __name__ == "__main__":
    sys.exit(main())
