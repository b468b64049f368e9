"""The official script's name for the training of METRO on bodies: `tore.cli.train`."""

import sys

from tore.cli.train import training_command

main = training_command("metro", "body")

if __name__ == "__main__":
    sys.exit(main())
