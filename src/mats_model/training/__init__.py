"""A recipe becomes a model, from text alone."""
