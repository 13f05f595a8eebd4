"""Serve the inherited socket until the other side closes it: ``... FD PATH_OF_RGB2ACT_WIRE``.

``rgb2act_wire`` is loaded by its path. Its folder may be the site-packages of another interpreter,
which must not be on this one's path.
"""

from __future__ import annotations

import importlib.util
import socket
import sys


def load_wire(path: str) -> None:
    """Make ``import rgb2act_wire`` find the file at ``path``."""
    spec = importlib.util.spec_from_file_location("rgb2act_wire", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rgb2act_wire"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    load_wire(sys.argv[2])
    from rgb2act_wire import Channel

    from .requests import serve

    serve(Channel(socket.socket(fileno=int(sys.argv[1])), answers=True))
