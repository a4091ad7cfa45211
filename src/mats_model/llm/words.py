"""The small decoder's word pieces: learnt from answers, and which of them would say a word again."""

from __future__ import annotations

import numpy as np

from mats_model.captions import ANSWER, CAPTION, QUESTION
from mats_model.errors import ModelError
from mats_model.tokens import read_tokenizer

SPECIAL = ["<pad>", "<end>", CAPTION, QUESTION, ANSWER]
# words that may come twice in one sentence
PLAIN = frozenset(
    "a an the and or as while with without in on at of to into onto from by for then followed before after over under "
    "near nearby off out up"
    " down is are was be being it its that this there some another other one two , . ; - '".split()
)


class Words:
    """The decoder's tokenizer, and which tokens would say a word that was already said."""

    def __init__(self, tokenizer_json: str) -> None:
        self.tokenizer_json = tokenizer_json
        self.tokenizer = read_tokenizer(tokenizer_json)
        vocabulary = self.tokenizer.get_vocab()
        size = len(vocabulary)
        if "<end>" not in vocabulary or sorted(vocabulary.values()) != list(range(size)):
            raise ModelError("the tokenizer is none of mats: it has no <end>, or leaves numbers out.")
        self.end = vocabulary["<end>"]
        self.special = [
            number for name, number in vocabulary.items() if name[:1] == "<" and name[-1:] == ">" and len(name) > 2
        ]
        # tokens that begin the same word in another form (dog, dogs) share a stem; -1 may always come again
        self.stem = np.full(size, -1, np.int64)
        stems: dict[str, int] = {}
        for token, number in sorted(vocabulary.items(), key=lambda pair: pair[1]):
            if not token.startswith("\u0120") or token[1:] in PLAIN or len(token) < 3:
                continue
            self.stem[number] = stems.setdefault(_stem(token[1:]), len(stems))

    def encode(self, text: str) -> list[int]:
        """Token ids."""
        return self.tokenizer.encode(text).ids

    def decode(self, ids: list[int]) -> str:
        """Text without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e")


def learn_tokenizer(answers: list[str], vocabulary: int) -> str:
    """Byte-level BPE on what is asked and answered -> tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(answers, trainer)
    return tokenizer.to_str()


def vocabulary_size(tokenizer_json: str) -> int:
    """Tokens of a tokenizer.json."""
    return int(read_tokenizer(tokenizer_json).get_vocab_size())
