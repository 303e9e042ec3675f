"""`python -m fuselight`."""

import sys

from fuselight.cli import main

if __name__ == "__main__":
    sys.exit(main())
