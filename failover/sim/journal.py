"""The decision log of a run: one line per thing played and per thing the agent said. Same seed, same lines."""

from __future__ import annotations

from failover.model import Answer, Notice


class Journal:
    """Times are the script's, in seconds."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, now: float, notice: Notice) -> None:
        self.write(now, notice.kind, notice.text)

    def answer(self, now: float, answer: Answer) -> None:
        said = f"{answer.error}; {answer.hint}" if answer.error else answer.text
        self.write(now, "answer", said)

    def write(self, now: float, kind: str, text: str) -> None:
        self.lines.append(f"{clock(now)}  {kind:<8}  {text}")


def clock(seconds: float) -> str:
    """`H:MM:SS.mmm`, right-aligned; a minus before the start."""
    milliseconds = round(abs(seconds) * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    sign = "-" if seconds < 0 and milliseconds else ""
    return f"{f'{sign}{hours}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}':>13}"
