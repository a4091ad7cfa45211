"""A tokenizer.json that may come from anywhere: read, and known to say no number that there is no row for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mats_model.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LONGEST = 1000  # characters of a piece; none that was ever learnt comes near


def read_tokenizer(tokenizer_json: str, rows: int = 0) -> Tokenizer:
    """Without truncation or padding of its own; every piece has a number below `rows`, if given. Errors: ModelError,
    without a file's name."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(tokenizer_json)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        numbers = tokenizer.get_vocab() if rows else {}
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except (
        BaseException
    ) as error:  # the library has no kind of its own for this, and where it panics not even an Exception
        raise ModelError(
            f"the tokenizer cannot be read ({str(error).splitlines()[0][:120] if str(error) else 'damaged'})."
        ) from None
    if rows and (not numbers or max(numbers.values()) >= rows):
        raise ModelError(
            f"the tokenizer has {len(numbers)} pieces with numbers up to {max(numbers.values(), default=0)}, the "
            f"model {rows} rows for them."
        )
    if max(map(len, numbers), default=0) > _LONGEST:
        raise ModelError("the tokenizer has pieces that are longer than any text.")
    return tokenizer
