"""A source -> mono float32 samples at the encoder's rate, block by block, so that memory is flat in length and the
block size changes nothing.

libsndfile decodes what it knows, PyAV the rest and what libsndfile stumbles over. What was promised is compared with
what came.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from mats_model.audio import ffmpeg, mpeg
from mats_model.audio.find import Content, Part, is_text, look
from mats_model.audio.item import AudioSource, Facts
from mats_model.audio.mix import Blocks, heard_at
from mats_model.audio.view import Peek, View
from mats_model.errors import InputError, one_input

BLOCK = 65_536


def blocks(item: AudioSource, sample_rate: int) -> Iterator[np.ndarray]:
    """Mono float32 samples (s,) at `rate`, block by block: the mean of the channels, never clamped; the louder channel
    where they cancel.

    Errors: InputError, one sentence that names the file and says what to do.
    """
    if item.samples is not None:
        heard: Blocks = iter([(item.samples.reshape(len(item.samples), -1), item.sample_rate)])
    else:
        heard = decoded(item)
    total = 0
    with one_input(item.name):
        for block in heard_at(item, heard, sample_rate):
            yield block
            total += len(block)
            if item.progress:
                item.progress(total / sample_rate)


def seconds(item: AudioSource) -> float | None:
    """How long it is, where that is known without decoding it."""
    try:
        with plain(item) as sound:
            return sound.frames / sound.samplerate if sound is not None and sound.samplerate else None
    except InputError:
        return None


def decoded(item: AudioSource) -> Blocks:
    """(frames, channels) float32 and samples a second, which may change on the way. Errors: InputError."""
    with one_input(item.name):
        yield from _decoded(item)


def recognised(item: AudioSource) -> bool:
    """Whether the first bytes of a longer sound say what it is; False where they are tags or zeros, behind which it may
    begin.

    Errors: InputError, where it is no sound whatever comes after them.
    """
    with item.open() as handle:
        size = handle.seek(0, os.SEEK_END)
        peek = Peek(handle, size)
        if look(peek).kind:
            return True
        if max(mpeg.tag_end(peek, 0), peek.zeros(0)) >= size:
            return False
    return next(decoded(item), None) is not None


def facts(item: AudioSource) -> Facts:
    """Whether the file can be heard is for `blocks` to say. Errors: InputError when it cannot be opened."""
    item.open().close()
    if not item.about:
        silent = replace(item, notes=[], missing=[])
        try:
            for _ in decoded(silent):
                break
        except InputError:
            return Facts()
    return item.about[0] if item.about else Facts()


# ---- parts of a file


def _decoded(item: AudioSource) -> Blocks:
    with item.open() as handle:
        content = _content(item, handle)
        for text in content.notes:
            item.say(text)
        for text in content.missing:
            item.miss(text)
        heard, failed = 0.0, list[tuple[float, InputError]]()
        for part in content.parts:
            try:
                for block, sample_rate in _part(item, handle, content, part, heard):
                    yield block, sample_rate
                    heard += len(block) / sample_rate
            except InputError as error:
                # a part of several that cannot be decoded: the others are heard
                failed.append((heard, error))
                if len(content.parts) == 1 or isinstance(error.__cause__, OSError):
                    raise
        if failed and not heard:
            raise failed[0][1]
        for at, _ in failed[:1]:
            item.miss(f"a part of it at {at:.1f} s cannot be decoded, and is missing.")


def _content(item: AudioSource, handle: Any) -> Content:
    """What is in a file. Errors: InputError, OSError."""
    size = handle.seek(0, os.SEEK_END)
    if size == 0:
        raise InputError(f"{item.name} is empty (0 bytes).")
    content = look(Peek(handle, size))
    if content.refused:
        raise InputError(f"{item.name} {content.refused}")
    return content


def _part(item: AudioSource, handle: Any, content: Content, part: Part, before: float) -> Blocks:
    """One part; `before` it so many seconds were heard."""
    for pieces in part.views if part.plain else []:
        view = View(handle, pieces)
        sound = _opened(view)
        if view.failed:
            raise _unreadable(item, before, view.failed)
        if sound is not None:
            with sound:
                yield from _by_libsndfile(item, sound, view, part, before)
            return
    view = View(handle, part.views[0])
    if not ffmpeg.here():
        raise InputError(_without_extra(item, content, view))
    if not content.kind and is_text(view.read(512)):
        raise InputError(f"{item.name} is not a sound: its content is text.")
    yield from ffmpeg.decode(item, view, content.kind, before)


@cache
def _reader() -> Any:
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """Read from the beginning to the end: python-soundfile seeks after each block, which is slow in a FLAC and
        fails at its end."""

        def seekable(self) -> bool:
            """Not while reading on; `seek` works all the same."""
            return False

    return Forward


def _opened(view: View) -> Any:
    import soundfile

    descriptor = view.lend()
    try:
        sound = _reader()(view) if descriptor is None else _reader()(descriptor, closefd=False)
    except (soundfile.LibsndfileError, OSError, ValueError):
        view.returned()
        return None
    if sound.samplerate > 0 and sound.channels > 0:
        return sound
    sound.close()
    return None


def _without_extra(item: AudioSource, content: Content, view: View) -> str:
    if content.kind:
        odd = "a codec in " if content.kind in ("wav", "w64", "aiff", "au", "caf", "ogg") else ""
        return f"{item.name} holds {odd}{content.kind}, which needs the extra `media`: pip install 'mats[media]'."
    if is_text(view.read(512)):
        return f"{item.name} is not a sound: its content is text."
    return (
        f"{item.name} is not a sound: its content is of no known audio format (the extra `media` knows more: pip "
        "install 'mats[media]')."
    )


def _unreadable(item: AudioSource, at: float, error: OSError) -> InputError:
    made = InputError(
        f"{item.name} cannot be read after {at:.1f} s ({error.strerror or error}): copy it to another disk, or try "
        "again."
    )
    made.__cause__ = error
    return made


def _by_libsndfile(item: AudioSource, sound: Any, view: View, part: Part, before: float) -> Blocks:
    """All of it; where libsndfile stops early, PyAV goes on if it is there."""
    own, channels = sound.samplerate, sound.channels
    item.about.append(Facts(sound.format.lower(), own, channels))
    if channels > 8:
        item.say(f"it has {channels} channels; their mean is what is heard.")
    # a second at a time is what `mix` decides for, and is given on without a copy
    done, error, count = 0, "", min(BLOCK, own)
    while not error:
        block, error = _read(sound, channels, count)
        if error or len(block) < count:
            view.returned()
        done += len(block)
        if len(block):
            yield block, own
        if view.failed:
            raise _unreadable(item, before + done / own, view.failed)
        # an MP3 gives less than was asked for here and there
        if not len(block):
            break
    whole = 0.0 if part.holes else part.promised or (sound.frames / own if 0 < sound.frames < 2**62 else 0.0)
    if part.endless and "seek" in error and view.tell() >= view.size:
        return  # a stream of unknown length has ended, and there is no place to go on from
    come = done / own
    spare = min(part.spare, whole / 2)
    if not error and come >= whole - max(spare, 1 / own):
        return
    more = 0
    if ffmpeg.here():
        for block in _behind(item, view, own, channels, done):
            more += len(block)
            yield block, own
    if not error and not more and come >= whole - spare:
        return
    where, of = f"{before + come:.1f} s", f" of {before + whole:.1f} s" if whole > come else ""
    cut = not more and whole > come and (not error or view.tell() >= view.size)
    why = f"cut short: it ends at {where}{of}" if cut else f"damaged at {where}{f' ({error})' if error else ''}"
    if more:
        item.miss(f"it is {why}; what can be decoded behind that is heard.")
    else:
        item.miss(f"it is {why}; what comes after that is missing.")


def _read(sound: Any, channels: int, count: int) -> tuple[np.ndarray, str]:
    """The next `count` samples, and what went wrong: samples that came before an error in the same call are kept."""
    import soundfile

    # integers never decode to NaN, so it marks what was not written
    block = np.full((count, channels), np.nan, np.float32)
    try:
        return sound.read(count, out=block), ""
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        reason = getattr(error, "error_string", str(error)).strip(" .") or "it cannot be decoded"
        unwritten = np.flatnonzero(np.isnan(block).all(1))
        return block[: unwritten[0] if len(unwritten) else len(block)], reason


def _behind(item: AudioSource, view: View, sample_rate: int, channels: int, done: int) -> Iterator[np.ndarray]:
    """What PyAV makes of a part behind its first `done` samples."""
    at = 0
    quiet = replace(item, notes=[], missing=[], about=[])
    try:
        for block, own in ffmpeg.decode(quiet, View(view.handle, view.pieces), "", 0.0):
            if own != sample_rate or block.shape[1] != channels:
                return
            if at + len(block) > done:
                yield block[max(0, done - at) :]
            at += len(block)
    except InputError:
        return


@contextmanager
def plain(item: AudioSource) -> Iterator[Any]:
    """A file as libsndfile opens it, where that hears it in one piece and can go to any place in it; else None. Errors:
    InputError."""
    with item.open() as handle:
        sound = None
        try:
            content = _content(item, handle)
            if (
                len(content.parts) == 1
                and content.parts[0].plain
                and not content.parts[0].endless
                and not content.missing
            ):
                for pieces in content.parts[0].views:
                    sound = sound or _opened(View(handle, pieces))
        except OSError as error:
            raise InputError(f"{item.name} cannot be read ({error.strerror or error}).") from error
        try:
            yield sound
        finally:
            if sound is not None:
                sound.close()
