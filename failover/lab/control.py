"""Talk between the lab and its own processes: one JSON object a line, a request and its answer, over stdin and stdout.

Both ends live here: Channel in the process, Helper in the lab. A process ends when its stdin does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from failover.lab.namespaces import LabError

Message = dict[str, Any]
LINE_LIMIT = 1 << 20


class Channel:
    """The process's end."""

    def __init__(self) -> None:
        """Takes over stdin and stdout; the terminal's Ctrl-C is the lab's business."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._pending = b""

    def fileno(self) -> int:
        """What to wait on before serve()."""
        return 0

    def send(self, message: Message) -> None:
        """One line to the lab."""
        os.write(1, json.dumps(message).encode() + b"\n")

    def serve(self, handle: Callable[[Message], Message | None]) -> bool:
        """Answer the requests that have arrived (None: the answer comes later); False when the lab is gone."""
        data = os.read(0, 65536)
        self._pending += data
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            try:
                answer = handle(json.loads(line))
            except (ValueError, KeyError, OSError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            if answer is not None:
                self.send(answer)
        return bool(data)


class Place(Protocol):
    """Where a process can be started: a namespace, for one."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]: ...


class Helper:
    """The lab's end: a child process in a namespace. One request at a time."""

    def __init__(self, namespace: Place, module: str, *arguments: str) -> None:
        """Start `python -m MODULE ARGUMENTS`; it is of use after ready()."""
        self._name = module.rpartition(".")[2]
        argv = [sys.executable, "-m", module, *arguments]
        self._process = namespace.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._pending = b""

    def ready(self) -> Message:
        """Wait for its first line; LabError when it does not come within 10 s."""
        return self.take(10.0)

    def ask(self, request: Message, timeout: float = 5.0) -> Message:
        """Send a request, wait for the answer; LabError when the process fails, refuses or takes too long (seconds)."""
        self.post(request)
        return self.take(timeout)

    def post(self, request: Message) -> None:
        """Send a request whose answer is taken later."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise LabError(f"the lab's {self._name} has died") from error

    def fileno(self) -> int:
        """Readable when an answer may be taken."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def take(self, timeout: float) -> Message:
        """The answer to the oldest request still open; LabError as for ask()."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._pending:
            if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LabError(f"the lab's {self._name} did not answer within {timeout} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data or len(self._pending) > LINE_LIMIT:
                raise LabError(f"the lab's {self._name} has died")
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        answer: Message = json.loads(line)
        if "error" in answer:
            raise LabError(f"the lab's {self._name} refused: {answer['error']}")
        return answer

    def send_signal(self, number: int) -> None:
        """As kill(2)."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Close its stdin and wait for its end; kill it after 2 s."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
