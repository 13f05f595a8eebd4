"""MkDocs hook: links that leave docs/ point to the repository."""

from __future__ import annotations

import re
from typing import Any

REPOSITORY = "https://github.com/rgb2act/rgb2act/blob/main"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace relative links to files outside ``docs/``, as GitHub renders them, by addresses."""
    up = "../" * (page.file.src_uri.count("/") + 1)
    return re.sub(rf"\]\({re.escape(up)}([^)]+)\)", rf"]({REPOSITORY}/\1)", markdown)
