"""mats_cli: options in, model out; it talks and computes nothing."""

import os

# numpy's products here are small: a second thread would only spin between them, as `listen` and `chat` wait
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
