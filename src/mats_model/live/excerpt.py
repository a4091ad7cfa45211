"""The last seconds of a stream, cut out to be talked about; as they move on they become another sound."""

from __future__ import annotations

from mats_model.audio import AudioSource
from mats_model.errors import DeviceError, InputError
from mats_model.live.stream import Stream

# seconds that must have been heard before anything is said
LEAST = 0.5


class Excerpts:
    """Cuts sounds out of a stream, whose ring must hold them; `window` is the length in seconds of the latest."""

    def __init__(self, stream: Stream, window: float = 10.0) -> None:
        self.stream, self.window = stream, window
        self._taken = (0, 0)  # positions in the stream that were cut out last

    def restart(self) -> None:
        """Whatever comes next is another sound."""
        self._taken = (0, 0)

    def between(self, first: int, end: int) -> AudioSource:
        """Samples [first, end) of the stream. Errors: InputError where they are too few."""
        ring = self.stream.ring
        if end - first < LEAST * ring.sample_rate:
            heard = (
                f"{self.stream.name} was heard for {(end - first) / ring.sample_rate:.1f} s only: "
                "wait a moment, and ask again."
            )
            raise InputError(self.stream.problem() or heard)
        self._taken = first, end
        return AudioSource(self.stream.name, samples=ring.between(first, end), sample_rate=ring.sample_rate)

    def latest(self) -> tuple[AudioSource, bool] | None:
        """The last seconds, and whether they are the same sound as before: once half of it is new, it is another.

        None where nothing came since. Errors: DeviceError where a live stream has ended; InputError as `between`.
        """
        stream, ring = self.stream, self.stream.ring
        if stream.live and stream.ended():
            raise DeviceError(stream.problem() or f"{stream.name} has ended.")
        end = ring.total
        before = self._taken[1]
        if end == before:
            return None
        first = max(0, end - round(self.window * ring.sample_rate))
        old = max(0, before - first)
        return self.between(first, end), before > 0 and old * 2 >= end - first
