"""`python -m mats_cli` is `mats`."""

from mats_cli.main import main

main()
