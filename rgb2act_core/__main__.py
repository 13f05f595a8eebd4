"""``python -m rgb2act_core`` is ``rgb2act``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
