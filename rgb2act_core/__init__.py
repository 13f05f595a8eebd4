"""RGB in, bimanual joint actions out: a small core that plugins fill."""

from .components import Component, Kind
from .errors import UserError
from .hookspecs import hookimpl

__all__ = ["Component", "Kind", "UserError", "__version__", "hookimpl"]
__version__ = "0.1.0"
