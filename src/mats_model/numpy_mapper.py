"""The mapper as it answers, in numpy: the same functions as `mapper`, which is trained."""

from __future__ import annotations

import numpy as np

from mats_model.config import MapperConfig
from mats_model.errors import UsageError
from mats_model.numpy_layers import attention, gelu, layer_norm, linear, split_heads

KINDS = ("transformer", "mlp", "linear")


def check_mapper(config: MapperConfig) -> None:
    """Errors: UsageError for a kind that there is not, or sizes that do not go together."""
    if config.kind not in KINDS:
        raise UsageError(f"mapper.kind {config.kind!r}: choose one of {', '.join(KINDS)}.")
    if config.kind == "transformer" and config.width % config.heads:
        raise UsageError(f"mapper.width {config.width} should be a multiple of mapper.heads {config.heads}.")


def mapper_shapes(config: MapperConfig, d: int, llm_width: int) -> dict[str, tuple[int, ...]]:
    """The weights of a mapper: name -> shape."""
    width, prefix = config.width, config.prefix_length
    if config.kind == "linear":
        return _linear("fc1", d, llm_width * prefix)
    if config.kind == "mlp":
        return _linear("fc1", d, width * prefix) | _linear("fc2", width, llm_width)
    shapes: dict[str, tuple[int, ...]] = {"prefix_const": (prefix, width)} | _linear(
        "linear", d, config.clip_length * width
    )
    for number in range(config.layers):
        layer = f"transformer.layers.{number}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{layer}.{norm}.weight": (width,), f"{layer}.{norm}.bias": (width,)}
        shapes |= {f"{layer}.attn.to_queries.weight": (width, width)}
        shapes |= {f"{layer}.attn.to_keys_values.weight": (2 * width, width)}
        shapes |= _linear(f"{layer}.attn.project", width, width)
        shapes |= _linear(f"{layer}.mlp.fc1", width, 2 * width) | _linear(f"{layer}.mlp.fc2", 2 * width, width)
    return shapes | _linear("project", width, llm_width)


def _linear(name: str, inp: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, inp), f"{name}.bias": (out,)}


class NumpyMapper:
    """(n, d) unit length -> (n, p, h). `weights` by name, float32; each row is made alone, so that it does not depend
    on its neighbours."""

    def __init__(self, config: MapperConfig, d: int, llm_width: int) -> None:
        check_mapper(config)
        self.config = config
        self.weights = {
            name: np.zeros(shape, np.float32) for name, shape in mapper_shapes(config, d, llm_width).items()
        }

    def kept(self) -> dict[str, np.ndarray]:
        """The arrays that belong in a model folder, by name."""
        return self.weights

    def prefix(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, p, h)."""
        make = self._attended if self.config.kind == "transformer" else self._multiplied
        return np.concatenate([make(row[None]) for row in embeddings])

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _attended(self, embedding: np.ndarray) -> np.ndarray:
        heard = self._linear(embedding, "linear").reshape(1, self.config.clip_length, -1)
        x = np.concatenate([heard, self.weights["prefix_const"][None]], 1)
        for number in range(self.config.layers):
            layer = f"transformer.layers.{number}"
            normal = self._norm(x, f"{layer}.norm1")
            queries = self._linear(normal, f"{layer}.attn.to_queries")
            keys, values = np.split(self._linear(normal, f"{layer}.attn.to_keys_values"), 2, -1)
            queries, keys, values = (split_heads(part, self.config.heads) for part in (queries, keys, values))
            mixed = attention(queries, keys, values)
            x = x + self._linear(mixed, f"{layer}.attn.project")
            wide = np.maximum(self._linear(self._norm(x, f"{layer}.norm2"), f"{layer}.mlp.fc1"), 0.0)
            x = x + self._linear(wide, f"{layer}.mlp.fc2")
        return self._linear(x[:, -self.config.prefix_length :], "project")

    def _multiplied(self, embedding: np.ndarray) -> np.ndarray:
        tokens = self._linear(embedding, "fc1").reshape(1, self.config.prefix_length, -1)
        return tokens if self.config.kind == "linear" else self._linear(gelu(tokens), "fc2")
