"""Which of several captions is said: what the mapper is given to make them of, and the one that fits best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mats_model.claims import Claims
from mats_model.clap.protocol import Clap
from mats_model.config import SearchSettings
from mats_model.gap.santa import Santa
from mats_model.llm.answering import Candidate


@dataclass(frozen=True)
class Judge:
    """`claims` is None where nothing is asked of the memory's own texts."""

    clap: Clap
    santa: Santa
    settings: SearchSettings
    claims: Claims | None

    def looks(self, heard: np.ndarray) -> list[np.ndarray]:
        """Sounds (n, d) -> what the mapper is to be given for each, several times (n, d)."""
        looks = self.santa.looks(heard)
        if self.claims is not None and self.santa.crosses and len(self.claims):
            # one sound, said plainly, stands for choice beside a blend of several
            looks.append(self.claims.nearest(heard))
        return looks

    def best(self, heard: np.ndarray, candidates: list[Candidate]) -> str:
        """The candidate with the best score + rerank * cosine to the sound (d,) - claims * doubt: what was not heard
        is not said. A taught word is said where it is heard, as the language model learned it, and nowhere else."""
        if self.santa.taught_place(heard) >= 0:
            return candidates[0].text
        own = {plain(word) for word in self.santa.taught_texts}
        candidates = [candidate for candidate in candidates if plain(candidate.text) not in own] or candidates
        if self.claims is not None:
            # a model of the user's own words may answer with one of them; one that is judged by what it claims makes
            # sentences
            candidates = [candidate for candidate in candidates if not listed(candidate.text)] or candidates
        texts = [candidate.text or "nothing" for candidate in candidates]
        cosines = self.clap.embed_text(texts) @ heard
        doubts = [0.0] * len(texts) if self.claims is None else self.claims.doubt(heard, texts)
        scores = [
            candidate.score + self.settings.rerank * float(cosine) - self.settings.claims * doubt
            for candidate, cosine, doubt in zip(candidates, cosines, doubts, strict=True)
        ]
        return candidates[max(range(len(scores)), key=scores.__getitem__)].text


def plain(text: str) -> str:
    """A word as it is compared."""
    return text.lower().strip(" .")


def listed(text: str) -> bool:
    """A name, or names side by side, as in a list of classes, with what stands there in brackets: no sentence."""
    return len(text.split()) < 3 or "(" in text or ("," in text and len(text.split()) <= 5)
