"""`python -m latome`, and `torchrun -m latome`: the command line."""

import sys

from latome.cli import main

if __name__ == "__main__":
    sys.exit(main())
