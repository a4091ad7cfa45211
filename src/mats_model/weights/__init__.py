"""Where weights come from and go to: names, folders, downloads, bundles, checkpoints of others."""
