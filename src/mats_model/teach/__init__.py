"""How nano, the embedded model, is made from a teacher and recordings."""
