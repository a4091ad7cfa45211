"""How good answers are, with the protocol beside each number."""
