"""For all tests: linear algebra on one thread, so that workers share the cores; no facts of the user's own."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["SERVECAST_FACTS"] = ""
