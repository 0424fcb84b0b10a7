"""`python -m ltx_live` is `ltx-live`."""

import sys

from ltx_live.cli import main

if __name__ == "__main__":
    sys.exit(main())
