"""Encoders: sound and text in one space."""
