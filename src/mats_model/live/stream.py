"""A sound that is still going on: what a microphone, a pipe or a recording that is played have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mats_model.ears import AudioInput
    from mats_model.live.ring import Ring


class Stream:
    """`ring` holds its last seconds. Whoever has sound of his own writes blocks into a ring and says when it ends."""

    name: str
    ring: Ring
    live = True  # its clock is the wall's; otherwise it is as fast as it is heard
    notes: tuple[str, ...] = ()

    def wait(self, position: int, seconds: float) -> bool:
        """Until `position` samples came, or for so long; whether they came."""
        return self.ring.wait(position, seconds)

    def ended(self) -> bool:
        """Whether nothing more will come."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """Why it ended, in a sentence; None where that is no error."""
        return None

    def warning(self) -> str | None:
        """What is wrong with what comes, in a sentence."""
        return None

    def stalled(self) -> str | None:
        """Said once, where nothing comes and is waited for."""
        return None

    def heard_until(self, position: int) -> None:
        """What lies before is needed no longer."""

    def close(self) -> None:
        """Stop listening."""


class Recording(Stream):
    """A file, the bytes of one, or samples, heard as a stream from their beginning; read as they are asked for.

    Errors: InputError, from `wait`, where it cannot be decoded.
    """

    live = False

    def __init__(self, sound: AudioInput, sample_rate: int = 32_000, seconds: float = 60.0) -> None:
        from mats_model.audio import blocks, source
        from mats_model.live.ring import Ring

        self.source = source(sound)
        self.name = self.source.name
        self.ring = Ring(seconds, sample_rate)
        self._blocks = blocks(self.source, sample_rate)
        self._ended = False

    def wait(self, position: int, seconds: float) -> bool:
        while self.ring.total < position and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                self.ring.write(block)
        return self.ring.total >= position

    def ended(self) -> bool:
        return self._ended
