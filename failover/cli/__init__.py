"""The command line: parses, calls, prints. Fast to start: what a command needs is imported when it runs.

Exit status: 0 fine, 1 a failure, 2 wrong usage or a bad config. Errors are one line on stderr, with a hint.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from failover.cli.grammar import build_parser
from failover.cli.parser import USAGE
from failover.cli.screen import COMPLAINT_LIMIT, complain
from failover.model import ControlError, FailoverError, clean

FINE, FAILURE, INTERRUPTED = 0, 1, 130
MENDS: Final = {
    errno.ENOSPC: "make room",
    errno.EMFILE: "raise the limit of open files, see `ulimit -n`",
    errno.EACCES: "run as a user who may do that",
}
"""Of what the system refuses."""
UNWRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What a write to standard output, which has no name, comes to."""


def main(argv: Sequence[str] | None = None) -> int:
    """The `failover` command; returns its exit status."""
    _ready_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = build_parser().understand(words)
        file, _, name = arguments.run.partition(":")
        status: int = getattr(import_module(f"failover.cli.{file}"), name)(arguments)
        sys.stdout.flush()
        return status
    except FailoverError as error:
        return report(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if "--debug" in words and not isinstance(error, BrokenPipeError):
            raise
        if isinstance(error, OSError):
            return _say_refused(error)
        complain(f"{type(error).__name__}: {error}", "a bug; --debug shows where")
        return FAILURE


def _ready_streams() -> None:
    """A stream that is closed takes everything, and one of another charset an escape for what it cannot show."""
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report(error: FailoverError) -> int:
    """Say what went wrong; the exit status for it."""
    from failover.config import ConfigError

    if isinstance(error, ConfigError):
        for problem in error.problems:
            complain(str(problem))
        return USAGE
    *lines, last = str(error).split("\n") if isinstance(error, ControlError) else [str(error)]
    hint, *story = error.hint.split("\n")
    for line in lines:
        complain(line)
    complain(last, hint)
    for line in story:
        print(clean(line, COMPLAINT_LIMIT), file=sys.stderr)
    return FAILURE


def _say_refused(error: OSError) -> int:
    """What the system refused, and where; a reader of our output that is gone needs no word."""
    place = error.filename or ("standard output" if error.errno in UNWRITTEN else "")
    try:
        sys.stdout.flush()
    except OSError:  # what is still to be written cannot be; the interpreter's own flush shall not complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        reason = error.strerror or str(error)
        complain(f"{place}: {reason}" if place else reason, MENDS.get(error.errno or 0, "--debug shows where"))
    return FAILURE
