"""For all tests: linear algebra on one thread, so that workers share the cores; no facts and no cache of the user's."""

import os
import sys
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["SERVECAST_FACTS"] = ""
caches = Path(__file__).resolve().parents[1] / ".pytest_cache" / "caches"
# compiled kernels take minutes to make: the folder stays from run to run
os.environ["XDG_CACHE_HOME"] = str(caches)
# tests, and commands that they start, read their modules compiled, where the environment forbids it too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(caches / "bytecode")
sys.dont_write_bytecode = False

# no assertion on time: a first call compiles; `--hypothesis-profile thorough` looks at ten times as many examples
settings.register_profile("servecast", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("servecast")
