"""`python -m servecast` is `servecast`."""

from servecast.cli import main

main()
