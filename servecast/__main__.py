"""`python -m servecast` is `servecast`, also in a folder with a `model.py` or `runner.py` of the user's own."""

import sys

from servecast.rooms import HOME

if not sys.flags.safe_path:
    # Python puts the working directory first for `-m`; modules there must not stand in for our rooms.
    sys.path[:1] = []
    if str(HOME) not in sys.path:
        sys.path.insert(0, str(HOME))

from servecast.start import main

main()
