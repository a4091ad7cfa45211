"""mats index: the library, Santa's memory, and tuning of the way across the gap."""
