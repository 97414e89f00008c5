"""Start the service: ``python -m latentsync.server --help``."""

import sys

from latentsync.server.command import main

if __name__ == "__main__":
    sys.exit(main())
