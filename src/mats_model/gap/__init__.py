"""Between text and audio: noise while learning, Santa while listening, and Santa's memory on disk."""
