"""For all tests: linear algebra on one thread, so that workers share the cores; no facts and no cache of the user's."""

import os
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["SERVECAST_FACTS"] = ""
caches = Path(__file__).resolve().parents[1] / ".pytest_cache" / "caches"
# compiled kernels take minutes to make: the folder stays from run to run
os.environ["XDG_CACHE_HOME"] = str(caches)
# commands that tests start read their modules compiled, where the environment forbids it too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(caches / "bytecode")

# no assertion on time: a first call compiles
settings.register_profile("servecast", deadline=None)
settings.load_profile("servecast")
