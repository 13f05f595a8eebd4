"""Where the official weights of a model come from; light, for plugins' configs."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class OfficialWeights:
    """Say where an official file comes from: a Hugging Face repository, or an address."""

    name: str  # what it is, for messages
    filename: str
    repo: str | None = None  # Hugging Face repository
    repo_type: str = "model"
    url: str | None = None  # official address where there is no repository
    sha256: str | None = None  # checked after a download from ``url``
    size: int | None = None  # bytes
    licence: str = ""
    accept: str | None = None  # page where a gate must be accepted

    @property
    def source(self) -> str:
        """Return where it comes from, to be printed."""
        if self.repo is None:
            return self.url or "nowhere"
        kind = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"https://huggingface.co/{kind}{self.repo}"
