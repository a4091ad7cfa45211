"""mats_cli: options in, model out; it talks and computes nothing."""
