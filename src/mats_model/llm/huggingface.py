"""Any causal language model that transformers loads: as it is, with LoRA, or trained whole. `bases` loads it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from mats_model.config import LLMConfig, SearchSettings
from mats_model.errors import ModelError, UsageError
from mats_model.extras import need
from mats_model.llm import lora
from mats_model.llm.answering import Candidate
from mats_model.llm.prompts import Question, ask
from mats_model.llm.protocol import LanguageModel, Tokens, answer_places, padded
from mats_model.parallel import all_threads

# rows are always answered so many at a time on a device, so that an answer never depends on its neighbours
ROWS, ROWS_ON_GPU = 4, 16
TUNINGS = ("full", "lora", "frozen")
_SYSTEM = "You hear a sound."
# configurations of models whose logits are more than the output matrix times the hidden state
_RESHAPED = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class HubLLM(LanguageModel):
    """A base model of transformers, and what was trained beside it."""

    def __init__(self, base: Any, tokenizer: Any, config: LLMConfig) -> None:
        super().__init__()
        self.base, self.tokenizer, self.config = base, tokenizer, config
        self.int8 = False  # what `settle` makes of it
        self.fingerprint = ""  # of the base
        device = next(base.parameters()).device
        # bytes of the GPU: all of them, not those that happen to be free, so that a machine always answers alike
        self.memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
        self.width = base.get_input_embeddings().weight.shape[1]
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{config.base} has no end token: mats cannot tell where its answers end.")
        first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[0]
        # a tokenizer that writes a word's space itself must not be given another
        self.space = "" if config.prompt == "chat" or first.startswith("\u2581") else " "
        for weight in base.parameters():
            weight.requires_grad_(config.tuning == "full")
        self.ends = [tokenizer.eos_token_id]
        if config.prompt == "none":
            # texts were taught with " <|endoftext|>" after them: the space is a token of its own, and ends them as
            # surely
            self.ends += tokenizer(" ", add_special_tokens=False)["input_ids"][:1]
        if config.tuning == "lora":
            lora.add(base, config)
        self._asked: dict[Question, tuple[list[int], list[int]]] = {}

    def _template(self, turns: list[str]) -> str:
        said = [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(turns)]
        for messages in ([{"role": "system", "content": _SYSTEM}, *said], said):
            try:
                return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
            except Exception as error:  # templates are programs of the base's makers: some refuse a system's turn
                problem = error
        raise UsageError(
            f"llm.prompt chat: {self.config.base} has no chat template that can be used ({problem}); choose paper."
        )

    def _ask(self, asked: Question) -> tuple[list[int], list[int]]:
        """Tokens before and after the prefix; the same few questions are asked of a hundred thousand captions."""
        known = self._asked.get(asked)
        if known is None:
            known = self._tokenized(asked)
            if not asked.history:
                self._asked[asked] = known
        return known

    def _tokenized(self, asked: Question) -> tuple[list[int], list[int]]:
        prompt = ask(self.config.prompt, asked, self._template)
        marked = self.config.prompt not in ("chat", "none")
        before = list(self.tokenizer(prompt.before, add_special_tokens=marked)["input_ids"])
        if before and before[-1] == self.tokenizer.eos_token_id and marked:
            before.pop()
        return before, list(self.tokenizer(prompt.after, add_special_tokens=False)["input_ids"])

    def encode(self, asked: Question, answer: str) -> Tokens:
        before, after = self._ask(asked)
        said = list(self.tokenizer(self.space + answer, add_special_tokens=False)["input_ids"])
        return Tokens(before, after, [*said, self.tokenizer.eos_token_id])

    def _inputs(self, prefix: torch.Tensor, before: list[int], ids: torch.Tensor) -> torch.Tensor:
        embed = self.base.get_input_embeddings()
        first = embed(torch.tensor([before], dtype=torch.long, device=prefix.device)).expand(len(prefix), -1, -1)
        return torch.cat([first, prefix.to(first.dtype), embed(ids)], 1)

    def loss(self, prefix: torch.Tensor, batch: list[Tokens]) -> tuple[torch.Tensor, int]:
        hole = [self.tokenizer.eos_token_id] * prefix.shape[1]  # where each row's prefix goes
        rows_of = [tokens.before + hole + tokens.after + tokens.answer[:-1] for tokens in batch]
        ids = padded(rows_of, self.tokenizer.eos_token_id, prefix.device)
        lengths = torch.tensor([len(row) for row in rows_of], device=prefix.device)
        mask = (torch.arange(ids.shape[1], device=prefix.device) < lengths[:, None]).long()
        positions = torch.arange(prefix.shape[1], device=prefix.device)
        places_of_prefix = torch.tensor([[len(tokens.before)] for tokens in batch], device=prefix.device) + positions
        embedded = self.base.get_input_embeddings()(ids)
        inputs = embedded.index_put(
            (torch.arange(len(batch), device=prefix.device)[:, None], places_of_prefix), prefix.to(embedded.dtype)
        )
        rows, places, wanted = answer_places(batch, prefix.shape[1], prefix.device)
        logits, _ = self._logits(rows, places, inputs_embeds=inputs, attention_mask=mask, use_cache=False)
        return F.cross_entropy(logits.float(), wanted, reduction="sum"), len(wanted)

    def _logits(self, rows: Any, places: Any, **inputs: Any) -> tuple[torch.Tensor, Any]:
        """Logits (t, v) at some places only, since those of all would fill the memory; and keys and values."""
        body = self.base.base_model
        if body is self.base or any(getattr(self.base.config, name, None) for name in _RESHAPED):
            made = self.base(**inputs)
            return made.logits[rows, places], made.past_key_values
        made = body(**inputs)
        return self.base.get_output_embeddings()(made.last_hidden_state[rows, places]), made.past_key_values

    @torch.inference_mode()
    def answers(self, prefix: torch.Tensor, asked: Question, settings: SearchSettings) -> list[list[Candidate]]:
        if settings.temperature:
            return [[Candidate("".join(self.stream(row[None], asked, settings)).strip(), 0.0)] for row in prefix]
        found: list[list[Candidate]] = []
        before, after = self._ask(asked)
        at_once = self._fitting_rows(len(before) + prefix.shape[1] + len(after), settings)
        for part in prefix.split(at_once):
            # with one of their own: a row of nothing would go on and on
            filled = torch.cat([part, part[-1:].expand(at_once - len(part), -1, -1)])
            ids = torch.tensor([after], dtype=torch.long, device=prefix.device).expand(at_once, -1)
            inputs = self._inputs(filled, before, ids)
            with warnings.catch_warnings(), all_threads():
                warnings.simplefilter("ignore")  # penalties that see only what is generated are what is wanted
                made = self.base.generate(
                    inputs_embeds=inputs,
                    attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long, device=prefix.device),
                    num_beams=settings.beams,
                    num_return_sequences=settings.beams,
                    max_new_tokens=settings.max_new_tokens,
                    min_new_tokens=settings.min_new_tokens,
                    length_penalty=settings.length_penalty,
                    no_repeat_ngram_size=settings.no_repeat_ngram_size,
                    repetition_penalty=settings.repetition_penalty,
                    do_sample=False,
                    early_stopping=False,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    pad_token_id=self.tokenizer.eos_token_id,
                    eos_token_id=self.ends,
                    return_dict_in_generate=True,
                    output_scores=settings.beams > 1,
                )
            texts = [text.strip() for text in self.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)]
            scores = made.sequences_scores.tolist() if settings.beams > 1 else [0.0] * len(texts)
            several = [Candidate(text, score) for text, score in zip(texts, scores, strict=True)]
            found += [several[row * settings.beams : (row + 1) * settings.beams] for row in range(len(part))]
        return found

    @property
    def rows(self) -> int:
        """Answers that are made together; a small card makes fewer."""
        return ROWS if self.memory is None else ROWS_ON_GPU

    def _fitting_rows(self, positions: int, settings: SearchSettings) -> int:
        """How many rows with a prompt of so many positions are answered at once: on a GPU what a search keeps takes at
        most half of what the weights leave."""
        if self.memory is None:
            return ROWS
        config, embedding = self.base.config, self.base.get_input_embeddings().weight
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        per_head = getattr(config, "head_dim", None) or self.width // config.num_attention_heads
        keys_and_values = 2 * config.num_hidden_layers * heads * per_head * embedding.element_size()
        each = settings.beams * (positions + settings.max_new_tokens) * keys_and_values
        # a search with beams keeps the logits of every step, in float32
        each += settings.beams * embedding.shape[0] * 4 * (settings.max_new_tokens if settings.beams > 1 else 1)
        weights = sum(weight.nbytes for weight in self.base.parameters())
        fits = int((self.memory - weights) / 2 // each)
        return max(1, min(ROWS_ON_GPU, 1 << max(0, fits.bit_length() - 1)))

    def context(self) -> int:
        """Positions the base can look back on."""
        return int(
            getattr(self.base.config, "max_position_embeddings", 0)
            or getattr(self.base.config, "n_positions", 0)
            or 2048
        )

    def fitting(self, asked: Question, prefix: int, max_new_tokens: int) -> Question:
        """The question with as many of its latest turns as the context holds beside `prefix` positions and an
        answer."""
        while asked.history and sum(map(len, self._ask(asked))) + prefix + max_new_tokens > self.context():
            asked = replace(asked, history=asked.history[1:], since=max(0, asked.since - 1))
        return asked

    def stream(self, prefix: torch.Tensor, asked: Question, settings: SearchSettings) -> Iterator[str]:
        """The most probable next token each time, or one that is drawn, with the same penalties as a search; whoever
        reads it may stop at any piece."""
        drawn = torch.Generator().manual_seed(settings.seed)
        before, after = self._ask(self.fitting(asked, prefix.shape[1], settings.max_new_tokens))
        processors = need("transformers").LogitsProcessorList()
        if settings.repetition_penalty != 1.0:
            processors.append(need("transformers").RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
        if settings.no_repeat_ngram_size:
            processors.append(need("transformers").NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
        said, shown, past = torch.zeros(1, 0, dtype=torch.long, device=prefix.device), "", None
        inputs = self._inputs(prefix, before, torch.tensor([after], dtype=torch.long, device=prefix.device))
        for _ in range(settings.max_new_tokens):
            with torch.inference_mode(), all_threads():
                found, past = self._logits(slice(None), -1, inputs_embeds=inputs, past_key_values=past, use_cache=True)
                logits = found.float()
                if said.shape[1] < settings.min_new_tokens:
                    logits[:, self.ends] = float("-inf")
                token = _next(processors(said, logits) if said.shape[1] else logits, settings, drawn)
                inputs = self.base.get_input_embeddings()(token)
            if int(token) in self.ends:
                break
            said = torch.cat([said, token], 1)
            text = self.tokenizer.decode(said[0], skip_special_tokens=True).lstrip()
            # half a character, or a space that may be the last, waits for what follows
            whole = text.rstrip("\ufffd ").rstrip()
            if len(whole) > len(shown):
                yield whole[len(shown) :]
                shown = whole

    def kept(self) -> dict[str, torch.Tensor]:
        """LoRA's matrices, the whole base where it was trained whole, or nothing."""
        state = self.base.state_dict()
        if self.config.tuning == "full":
            tied = {id(value): key for key, value in reversed(list(self.base.state_dict(keep_vars=True).items()))}
            return {key: state[key] for key in tied.values()}
        return {key: value for key, value in state.items() if "lora_" in key}

    def settle(self) -> None:
        """LoRA becomes part of the weights, and those int8, where that was asked for; neither can be trained any
        more."""
        if not self.int8:
            return
        from mats_model.llm.int8 import to_int8

        if self.config.tuning == "lora":
            lora.merge(self.base)
            lora.take_out(self.base)
        to_int8(self.base)

    def recompute(self) -> None:
        """Compute activations again on the way back instead of keeping them: less memory, a third more time."""
        if newer := getattr(self.base, "activation_checkpointing_enable", None):
            newer(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _next(logits: torch.Tensor, settings: SearchSettings, drawn: torch.Generator) -> torch.Tensor:
    """logits (1, v) -> token (1, 1): the likeliest, or with a temperature one drawn from the likeliest that together
    make up `top_p`."""
    if not settings.temperature:
        return logits.argmax(-1, keepdim=True)
    # on the CPU, so that a seed means the same everywhere
    share, order = (logits.float().cpu() / settings.temperature).softmax(-1).sort(descending=True)
    share = share.masked_fill(share.cumsum(-1) - share > settings.top_p, 0.0)
    return order.gather(-1, share.multinomial(1, generator=drawn)).to(logits.device)
