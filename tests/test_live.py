"""What sounds right now: the ring of samples, its level, and what is heard in it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLES, noise

from mats_model.audio import AudioSource
from mats_model.audio.level import FLOOR, level
from mats_model.live.events import Tags
from mats_model.live.ring import Ring, hear_now
from mats_model.mats import Mats


def test_ring_keeps_the_last_samples() -> None:
    """Against a plain list, with blocks of every size, also longer than the ring."""
    rng = np.random.default_rng(0)
    ring, everything = Ring(1.0, 100, 2), np.zeros((0, 2), np.float32)
    for size in [1, 7, 99, 100, 101, 250, 3, 64, 100]:
        block = rng.standard_normal((size, 2)).astype(np.float32)
        ring.write(block)
        everything = np.concatenate([everything, block])
        assert ring.total == len(everything)
        np.testing.assert_array_equal(ring.last(1.0), everything[-100:])
        np.testing.assert_array_equal(ring.last(0.25), everything[-25:])
        np.testing.assert_array_equal(
            ring.between(ring.total - 40, ring.total - 10),
            everything[max(0, ring.total - 40) : max(0, ring.total - 10)],
        )
    # what is gone is not given, what has not come neither
    assert len(ring.between(0, ring.total)) == 100 and len(ring.between(0, 10)) == 0
    assert len(ring.between(ring.total - 5, ring.total + 50)) == 5


def test_ring_copies() -> None:
    ring, block = Ring(1.0, 10), np.ones((5, 1), np.float32)
    ring.write(block)
    block[:] = 9.0
    given = ring.last(1.0)
    given[:] = 7.0
    assert ring.last(1.0).tolist() == [[1.0]] * 5


def test_ring_waits_for_a_position() -> None:
    ring = Ring(1.0, 100)
    assert not ring.wait(1, 0.01)
    threading.Timer(0.05, lambda: ring.write(np.zeros(50, np.float32))).start()
    assert ring.wait(50, 5.0) and ring.total == 50


def test_the_writer_waits_for_nobody() -> None:
    """Whatever a reader holds, and however long."""
    ring = Ring(1.0, 100)
    for each in vars(ring).values():
        if hasattr(each, "acquire"):
            each.acquire(timeout=0)
    writer = threading.Thread(target=ring.write, args=(np.zeros(50, np.float32),), daemon=True)
    writer.start()
    writer.join(5.0)
    assert not writer.is_alive() and ring.total == 50 and ring.wait(50, 0.0)


def test_several_wait_at_once() -> None:
    ring, woken = Ring(1.0, 100), list[bool]()
    readers = [threading.Thread(target=lambda: woken.append(ring.wait(60, 10.0))) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        ring.write(np.zeros(10, np.float32))
        time.sleep(0.02)
    for reader in readers:
        reader.join(2.0)
    assert woken == [True] * 3


def test_level() -> None:
    time_ = np.arange(16_000) / 16_000
    sine = np.sin(2 * np.pi * 500 * time_).astype(np.float32)
    assert level(sine, 16_000) == pytest.approx(-3.01, abs=0.05)
    assert level(np.stack([sine, sine], 1) * 0.1, 16_000) == pytest.approx(-23.01, abs=0.05)
    # the loudest moment counts: a click in silence is no silence
    click = np.zeros(16_000, np.float32)
    click[8000:8100] = 0.5
    assert (
        level(click, 16_000) > -20
        and level(np.zeros(100), 16_000) == FLOOR
        and level(np.zeros((0, 1)), 16_000) == FLOOR
    )


def test_now_is_as_the_file(nano: Mats) -> None:
    """One window alone gives what a file of it gives, up to rounding; stereo and other rates too."""
    samples, sample_rate = soundfile.read(EXAMPLES / "dog.ogg", dtype="float32", always_2d=True)
    samples = np.repeat(samples[: 2 * sample_rate], 2, 1)
    now = hear_now(nano, samples, sample_rate)
    whole = nano.embed_audio(AudioSource("x", samples=samples, sample_rate=sample_rate))
    assert now.embedding is not None and float(now.embedding @ whole) > 0.9999
    assert Tags(nano, nano.santa.name_texts).best(now.embedding, 2)[0].name in ("Bark", "Dog")
    assert "dog" in nano.caption(AudioSource("x", samples=samples, sample_rate=sample_rate)).lower()


def test_quiet_is_not_heard(nano: Mats) -> None:
    quiet = hear_now(nano, noise(2, level=1e-4), 32_000)
    assert quiet.embedding is None and -90 < quiet.level < -75
    assert hear_now(nano, noise(2, level=1e-4), 32_000, gate=-100).embedding is not None


def test_tags_of_little_are_few(nano: Mats) -> None:
    tags = Tags(nano, ["dog", "piano", "rain"])
    vector = nano.label_embeddings(["dog"])[0]
    assert [label.name for label in tags.best(vector, 3)] == ["dog"] and len(tags.best(vector, 3, 0.0)) == 3
    assert tags.best(-vector, 3) == []


def test_readers_never_see_half_a_block() -> None:
    """Written by one thread, read by another: positions are what they say they are."""
    ring = Ring(0.5, 2000)
    done = threading.Event()

    def write() -> None:
        for number in range(400):
            ring.write(np.arange(number * 37, (number + 1) * 37, dtype=np.float32))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        end = ring.total
        given = ring.between(end - 1000, end)[:, 0]
        assert len(given) == 0 or (given[-1] == end - 1 and (np.diff(given) == 1).all())
    writer.join()
    assert len(ring.last(0.5)) == 1000
