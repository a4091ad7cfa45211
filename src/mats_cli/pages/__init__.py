"""A page to look at: what was heard in many sounds, in one HTML file that opens nothing else."""
