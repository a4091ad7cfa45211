"""What a model that is gone on with says of its own memory's texts: taught beside what is new, so that it is not
forgotten."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from mats_model.errors import UsageError
from mats_model.llm.prompts import CAPTION_TAG
from mats_model.mats import Mats
from mats_model.training.events import Note
from mats_model.training.recipe import TextRecipe
from mats_model.training.sources import SourceSettings, TextExample

_TOGETHER = 64  # texts that are answered in one go
_TIMES = 3  # that all descriptions of a word come as one text, beside each alone


def gathered(recipe: TextRecipe, told: list[list[TextExample]]) -> list[list[TextExample]]:
    """The same, and in each source that teaches words all descriptions of a word as one text, some times over: about
    that is what a sound becomes in which the word is heard."""
    more = []
    for source, examples in zip(recipe.sources, told, strict=True):
        by_word: dict[str, list[TextExample]] = {}
        if source.known_as in recipe.memory.taught:
            for example in examples:
                by_word.setdefault(example.answer, []).append(example)
        joined = [replace(some[0], text="; ".join(each.text for each in some)) for some in by_word.values()]
        more.append(examples + _TIMES * joined)
    return more


def recalled(
    mats: Mats, recipe: TextRecipe, told: list[list[TextExample]]
) -> Generator[Note, None, list[tuple[list[TextExample], SourceSettings]]]:
    """Texts drawn from the memory with a seed, answered by the model as it is before its first step; returns them as
    one more source, or none where the recipe asks for none. Errors: UsageError where the memory has no texts."""
    if not recipe.recall.texts:
        return []
    new = {example.text for part in told for example in part}
    known = [text for text in dict.fromkeys(mats.santa.captions) if text not in new]
    if not known:
        raise UsageError(f"recall: the memory of {recipe.start} holds no texts: set recall.texts to 0.")
    order = np.random.default_rng(recipe.train.seed).permutation(len(known))[: recipe.recall.texts]
    texts = [known[place] for place in order]
    # the likeliest answer is what a sound is told as; searching for a better one would take as long as the training
    search = replace(mats.config.search, beams=1)
    examples: list[TextExample] = []
    for at in range(0, len(texts), _TOGETHER):
        some = [TextExample(text, CAPTION_TAG, "", "") for text in texts[at : at + _TOGETHER]]
        prefix = mats.mapper.prefix(mats.clap.embed_text([each.text for each in some]))
        for each, found in zip(some, mats.llm.answers(prefix, some[0].asked, search), strict=True):
            examples.append(replace(each, answer=found[0].text))
    yield Note(f"recall: {len(examples)} texts of the memory, as {recipe.start} tells them")
    return [([each for each in examples if each.answer], SourceSettings(name="recall", ratio=recipe.recall.ratio))]
