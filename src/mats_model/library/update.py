"""A library brought up to date with its folders: what is new is heard, what has gone leaves.

with Library(path, create=True) as library, library.job():
    changes = compare(library, ["sounds"])
    for read in update(library, changes, load):
        print(read.path, read.state.error)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from mats_model.ears import Ears
from mats_model.library.changes import Changes
from mats_model.library.crawl import Read, read, read_all, read_on_ray
from mats_model.library.store import Library


def update(library: Library, changes: Changes, load: Callable[[], Ears], on_ray: str = "") -> Iterator[Read]:
    """Each file of `changes.todo` as it was read and stored, one transaction each; then what is gone leaves.

    `load` gives what hears, and is not called where nothing is to be heard; `on_ray` names the model that the machines
    of a Ray cluster load instead. Files that cannot be heard are added to `changes.failed`. Who stops may go on later
    with another `compare`. Errors: MismatchError where the library was made with another encoder; UsageError.
    """
    for folder in changes.folders:
        if os.path.isdir(folder):
            library.add_root(folder)
    if changes.todo:
        ears = load()
        library.of_pipeline(ears.clap.id, ears.clap.dim)
        if on_ray:
            reads = read_on_ray(on_ray, changes.todo, ears.clap.id)
        else:
            reads = read_all(ears, changes.todo, library.finder())
        for one in reads:
            yield _store(library, changes, ears, one)
    # after the new ones are in, so that a file that was moved need not be heard again
    library.drop(changes.gone)


def _store(library: Library, changes: Changes, ears: Ears, one: Read) -> Read:
    sound = one.sound or library.sound_of(one.digest)
    if sound is None and not one.state.error:
        # its content was known when it was read, and the last other file of that changed since
        one = read(ears, one.path, lambda digest: False)
        sound = one.sound
    if one.state.error:
        changes.failed.append((one.path, one.state.error))
        # one that has vanished meanwhile, or whose disk failed, is not remembered as bad
        if one.state.mtime_ns:
            library.fail(one.path, one.state, one.state.error)
    elif sound is not None:
        changes.cut += one.missing
        library.put(one.path, one.state, sound)
    return one
