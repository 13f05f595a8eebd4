"""The program ``rgb2act``, also as ``python -m rgb2act_core``."""

import os
import signal
import sys


def start() -> int:
    """Run the command line; Ctrl-C while it is imported ends the program without a traceback."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    try:
        from .cli import main

        return main()
    finally:  # the interpreter shuts down: nothing is left to save
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(start())
