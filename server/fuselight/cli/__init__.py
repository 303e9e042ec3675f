"""The command line: `check`, `fix`, `rule`, `graph`, `config`, `server`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

FOUND_NOTHING = 0
FOUND = 1
ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 nothing found, 1 findings, 2 an error."""
    from fuselight.cli.options import parse
    from fuselight.cli.terminal import StandardOutputClosed, close_output, prepare_output

    prepare_output()
    try:
        arguments = parse(argv)
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, StandardOutputClosed) as closed:
        # The reader (`| head`) has seen enough; what was found is what it was.
        close_output()
        return closed.status if isinstance(closed, StandardOutputClosed) else FOUND_NOTHING
