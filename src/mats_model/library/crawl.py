"""One file -> what a library keeps of it; on this machine, or on those of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mats_model.audio import AudioSource, Facts
from mats_model.ears import Ears
from mats_model.errors import InputError, UnexpectedError, UsageError, one_input
from mats_model.files import sha256_of
from mats_model.library.records import Sound, State, state_of
from mats_model.parallel import in_order
from mats_model.vectors import unit


@dataclass(frozen=True)
class Read:
    """A file as read: its sound, or why there is none. With only a digest its content is known already."""

    path: str
    state: State
    digest: str
    sound: Sound | None = None
    notes: tuple[str, ...] = ()
    missing: bool = False  # part of the sound is not there, as the notes say
    trace: str = ""  # where it went wrong, if nobody foresaw that


def digest_of(path: str) -> str:
    """SHA-256 of a file. Errors: InputError, OSError."""
    with AudioSource(path, path=Path(path)).open() as handle:
        return sha256_of(handle)


def listen_to(mats: Ears, path: str, digest: str) -> tuple[Sound, AudioSource]:
    """A file's windows and its whole, and the source, which holds what there is to say about it. Errors: InputError."""
    item = AudioSource(path, path=Path(path))
    times: list[tuple[float, float]] = []
    raws: list[np.ndarray] = []
    seconds = 0.0
    for window, raw in mats.windows(item):
        seconds = max(seconds, window.end)
        if raw is not None:
            times.append((window.start, window.end))
            raws.append(raw)
    raw = np.stack(raws) if raws else np.zeros((0, mats.clap.dim), np.float32)
    # windows are averaged as they are, so that what was recognised surely counts more
    half = [unit(part).astype(np.float16) for part in (raw, raw.sum(0))]
    about = item.about[0] if item.about else Facts()
    return Sound(
        digest,
        seconds,
        about.format,
        about.sample_rate,
        about.channels,
        np.array(times, np.float32).reshape(-1, 2),
        *half,
    ), item


def read(mats: Ears, path: str, known: Callable[[str], bool]) -> Read:
    """One file, read again if it changes meanwhile. An error is part of the answer."""
    state = State(0, 0)
    try:
        with one_input(path):
            for _ in range(3):
                state = state_of(path)
                digest = digest_of(path)
                sound, item = (None, None) if known(digest) else listen_to(mats, path, digest)
                if state.same(state_of(path)):
                    return Read(
                        path, state, digest, sound, tuple(item.notes) if item else (), bool(item and item.missing)
                    )
            raise InputError(f"{path} changes while it is read: index it again when it is finished.")
    except InputError as error:
        return failed(path, state, error)


def failed(path: str, state: State, error: InputError) -> Read:
    """A file that cannot be heard, in the state that it was read in; without a time where it is the disk that failed,
    or permissions are lacking, which says nothing of the file: it is tried again."""
    passing = isinstance(error.__cause__, OSError) and not isinstance(error, UnexpectedError)
    return Read(
        path, State(state.size, 0 if passing else state.mtime_ns, str(error)), "", trace=getattr(error, "trace", "")
    )


def read_all(mats: Ears, paths: Iterable[str], known: Callable[[str], bool]) -> Iterator[Read]:
    """Files in order, a few at once, each on one thread; what is `known` by its digest is not heard again."""
    yield from in_order(lambda path: read(mats, path, known), paths, mats.clap.listeners)


def read_on_ray(model: str, paths: Iterable[str], pipeline: str) -> Iterator[Read]:
    """The same on a Ray cluster, whose machines see the same files; in no order. Errors: UsageError."""
    try:
        import ray
        from ray.util import ActorPool
    except ImportError:
        raise UsageError("a Ray cluster needs ray, which is not installed: pip install 'mats[ray]'.") from None

    class Ear:
        """A model on one processor of one machine."""

        def __init__(self) -> None:
            import torch

            from mats_model.weights.loading import load_ears

            torch.set_num_threads(1)
            self.mats = load_ears(model)
            if self.mats.clap.id != pipeline:
                raise UsageError(f"a machine of the cluster has another version of {model}.")

        def read(self, path: str) -> Read:
            """A file as read."""
            return read(self.mats, path, lambda digest: False)

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not ray.is_initialized():
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    many = max(1, int(ray.cluster_resources().get("CPU", 1)))
    ears: Any = ActorPool([ray.remote(num_cpus=1)(Ear).remote() for _ in range(many)])
    yield from ears.map_unordered(lambda ear, path: ear.read.remote(path), list(paths))
