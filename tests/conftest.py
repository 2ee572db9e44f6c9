"""For all tests: small linear algebra runs on one thread, as in the product, so that workers share the cores."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
