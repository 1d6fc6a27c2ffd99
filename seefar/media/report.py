"""What a reading could not read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """The damage met by one reading; grows while the reading goes on.

    Args:
        decoded: frames decoded, wanted or passed on the way.
        damaged: frames that should have been met on the way and could not be decoded.
        first_damage_seconds: when the first of them should have been shown, or None.
        messages: what to tell a person, complete sentences.
    """

    decoded: int = 0
    damaged: int = 0
    first_damage_seconds: float | None = None
    messages: list[str] = field(default_factory=list)

    def miss(self, count: int, second: float) -> None:
        """Counts frames that could not be decoded, the first of them at a second."""
        if count:
            self.damaged += count
            known = self.first_damage_seconds
            self.first_damage_seconds = second if known is None else min(known, second)

    def close(self, name: str) -> None:
        """Adds the sentence about the damage, if there was any."""
        if self.damaged:
            total = self.decoded + self.damaged
            at = clock(self.first_damage_seconds or 0.0)
            self.messages.append(f"{name}: {self.damaged} of {total} frames could not be decoded (first at {at})")


def clock(seconds: float) -> str:
    """Seconds as hh:mm:ss, rounded down.

    >>> clock(4323.9)
    '01:12:03'
    """
    whole = int(max(seconds, 0.0))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
