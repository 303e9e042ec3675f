"""The command line: `check`, `fix`, `rule`, `graph`, `config`, `server`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

FOUND_NOTHING = 0
FOUND = 1
ERROR = 2
INTERRUPTED = 130


def program() -> NoReturn:
    """Run the command of `sys.argv` and end the process."""
    from fuselight.kept_code import keep_dataclasses, know_dataclasses

    # What is imported lives for ever: to look for garbage among it is a tenth of the start. What runs for long looks
    # for its own.
    gc.disable()
    know_dataclasses()
    status = main()
    if status == INTERRUPTED:
        _end_by_interrupt()
    keep_dataclasses()
    sys.exit(status)


def _end_by_interrupt() -> None:
    """End as an interrupted program does, so that a loop of a shell around it ends as well.

    At once, too: a process of a pool that was ended amid its answer leaves a thread that waits for the rest of it.
    """
    import os
    import signal

    if os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 nothing found, 1 findings, 2 an error, 130 interrupted."""
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
