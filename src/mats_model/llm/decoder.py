"""The language model: a small Llama-style decoder of our own that reads a prefix and writes words.

`Decoder` gives logits and keeps keys and values; `beam_search` reads a batch, stops each row on its own and says
no word twice; `SmallLLM` is both behind the door that every language model has.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.captions import ANSWER, CAPTION, QUESTION
from mats_model.config import DecoderConfig, SearchSettings
from mats_model.errors import ModelError
from mats_model.llm.prompts import Question, ask
from mats_model.llm.protocol import Candidate, LanguageModel, Tokens, answer_places, padded
from mats_model.tokens import read_tokenizer

SPECIAL = ["<pad>", "<end>", CAPTION, QUESTION, ANSWER]


class RMSNorm(nn.Module):
    """x / rms(x), scaled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)
        return x * (scale * self.weight).to(x.dtype)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class _Block(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = RMSNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.norm2 = RMSNorm(config.width)
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, past: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        n, t, width = x.shape
        split = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = _rotate(split[0], cos, sin), _rotate(split[1], cos, sin), split[2]
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        # one new token may see all that went before; a whole sequence is causal
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=past is None and t > 1)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up), (keys, values)


Past = list[tuple[torch.Tensor, torch.Tensor]]


class Decoder(nn.Module):
    """inputs (n, t, h) -> logits (n, t, vocabulary); embedding and output share their weights."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList([_Block(config) for _ in range(config.layers)])
        self.norm = RMSNorm(config.width)
        size = config.width // config.heads
        angles = torch.outer(torch.arange(config.positions), 10_000.0 ** (-torch.arange(0, size, 2) / size))
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                scale = (2 * config.layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(weight, 0.0, 0.02 * scale)

    def forward(self, inputs: torch.Tensor, past: Past | None = None) -> tuple[torch.Tensor, Past]:
        """`past` holds the keys and values of what was read before; returns them grown."""
        hidden, kept = self.read(inputs, past)
        return self.logits(hidden), kept

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., h) -> (..., vocabulary)."""
        return F.linear(hidden, self.embed.weight)

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        """The last layer's output for a whole sequence, (n, t, h): what training needs."""
        return self.read(inputs)[0]

    def read(self, inputs: torch.Tensor, past: Past | None = None) -> tuple[torch.Tensor, Past]:
        """(n, t, h) -> normalised output of the last layer (n, t, h), keys and values."""
        before = past[0][0].shape[2] if past else 0
        cos = self.cos[before : before + inputs.shape[1]].to(inputs.dtype)
        sin = self.sin[before : before + inputs.shape[1]].to(inputs.dtype)
        x, kept = inputs, []
        for number, block in enumerate(self.blocks):
            x, pair = block(x, cos, sin, past[number] if past else None)
            kept.append(pair)
        return self.norm(x), kept


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
        self.stem = torch.full((size,), -1, dtype=torch.long)
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


# rows are always decoded this many at a time, so that an answer never depends on its neighbours
ROWS = 16


@torch.inference_mode()
def beam_search(
    decoder: Decoder, words: Words, prefix: torch.Tensor, prompt: str, settings: SearchSettings
) -> list[list[Candidate]]:
    """prefix (n, p, h) and one prompt -> for each row its finished answers, best first.

    No sampling; no word that carries meaning comes twice in an answer.
    """
    answers: list[list[Candidate]] = []
    for part in prefix.split(ROWS):
        filled = torch.cat([part, part.new_zeros(ROWS - len(part), *part.shape[1:])])
        answers += _search(decoder, words, filled, len(part), words.encode(prompt), settings)
    return answers


def _search(
    decoder: Decoder, words: Words, prefix: torch.Tensor, real: int, prompt: list[int], settings: SearchSettings
) -> list[list[Candidate]]:
    rows, beams, vocabulary, device = len(prefix), settings.beams, decoder.config.vocabulary, prefix.device
    asked = decoder.embed(torch.tensor(prompt, device=device)).expand(rows, -1, -1)
    hidden, past = decoder.read(torch.cat([prefix, asked], 1))
    logits = decoder.logits(hidden[:, -1])
    scores = torch.zeros(rows, 1, device=device)
    tokens = torch.zeros(rows, 1, 0, dtype=torch.long, device=device)
    never = torch.zeros(vocabulary, dtype=torch.bool, device=device)
    stems = words.stem.to(device)
    never[words.special] = True
    banned = never.expand(rows, 1, -1)
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(rows)]
    # rows that are not asked for are settled from the start, and a settled row takes no more answers from the wait for
    # others
    settled = [row >= real for row in range(rows)]
    for length in range(settings.max_new_tokens):
        width = tokens.shape[1]
        options = logits.view(rows, width, vocabulary).log_softmax(-1)
        ending = options[..., words.end].clone()
        options = options.masked_fill(banned, float("-inf"))
        if length >= settings.min_new_tokens:
            options[..., words.end] = ending
        total, flat = (scores[..., None] + options).view(rows, -1).topk(2 * beams, -1)
        beam, token = flat // vocabulary, flat % vocabulary
        keep = torch.zeros(rows, beams, dtype=torch.long)
        for row, (values, beam_of, token_of) in enumerate(
            zip(total.tolist(), beam.tolist(), token.tolist(), strict=True)
        ):
            goes_on = [rank for rank in range(2 * beams) if token_of[rank] != words.end][:beams]
            keep[row] = torch.tensor(goes_on)
            if settled[row]:
                continue
            shrink = (length + 1) ** settings.length_penalty
            for rank in range(beams):
                if token_of[rank] == words.end:
                    finished[row].append((values[rank] / shrink, tokens[row, beam_of[rank]].tolist()))
            # enough answers are whole, and the best open beam scores below the best of them
            settled[row] = len(finished[row]) >= beams and max(finished[row])[0] >= values[goes_on[0]] / shrink
        if all(settled):
            break
        keep = keep.to(device)
        scores, beam, token = total.gather(1, keep), beam.gather(1, keep), token.gather(1, keep)
        tokens = torch.cat([tokens.gather(1, beam[..., None].expand(-1, -1, length)), token[..., None]], -1)
        stem = stems[token][..., None]
        banned = banned.gather(1, beam[..., None].expand(-1, -1, vocabulary)) | ((stems == stem) & (stem >= 0))
        source = (torch.arange(rows, device=device)[:, None] * width + beam).flatten()
        past = [(keys[source], values[source]) for keys, values in past]
        hidden, past = decoder.read(decoder.embed(token.flatten())[:, None], past)
        logits = decoder.logits(hidden[:, -1])
    for row in range(real):
        if not finished[row]:
            finished[row].append((float("-inf"), tokens[row, 0].tolist()))
    return [
        [Candidate(words.decode(ids), score) for score, ids in sorted(finished[row], reverse=True)]
        for row in range(real)
    ]


class SmallLLM(LanguageModel):
    """The decoder and its tokenizer; all of it lies in the model folder."""

    def __init__(self, decoder: Decoder, words: Words, dropout: float = 0.0) -> None:
        super().__init__()
        self.decoder, self.words, self.dropout = decoder, words, dropout
        self.width = decoder.config.width

    @property
    def rows(self) -> int:
        """As `LanguageModel` has it."""
        return ROWS

    def encode(self, asked: Question, answer: str) -> Tokens:
        return Tokens([], self.words.encode(ask("nano", asked).after), [*self.words.encode(answer), self.words.end])

    def loss(self, prefix: torch.Tensor, batch: list[Tokens]) -> tuple[torch.Tensor, int]:
        ids = padded([tokens.after + tokens.answer[:-1] for tokens in batch], 0, prefix.device)
        inputs = torch.cat([prefix, self.decoder.embed(ids).to(prefix.dtype)], 1)
        hidden = self.decoder.hidden(F.dropout(inputs, self.dropout, self.training))
        # only the positions whose next token is part of an answer reach the output matrix
        rows, places, wanted = answer_places(batch, prefix.shape[1], prefix.device)
        logits = self.decoder.logits(hidden[rows, places])
        return F.cross_entropy(logits.float(), wanted, reduction="sum"), len(wanted)

    def answers(self, prefix: torch.Tensor, asked: Question, settings: SearchSettings) -> list[list[Candidate]]:
        return beam_search(self.decoder, self.words, prefix, ask("nano", asked).after, settings)

    def kept(self) -> dict[str, torch.Tensor]:
        return self.state_dict()
