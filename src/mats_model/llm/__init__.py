"""The language side: what is asked, and who answers."""
