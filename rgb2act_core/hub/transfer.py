"""Requests to the Hugging Face hub, whose errors become one line each."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, first_line
from ..system.formatting import format_bytes
from ..system.input_files import check_within
from ..weights.locate import offline
from ..weights.network import reason_unreachable

LOG_IN = "log in with 'hf auth login' or set HF_TOKEN"


def send(
    repo: str,
    files: Mapping[str, bytes | Path],
    message: str,
    *,
    private: bool = False,
    revision: str | None = None,
    kind: str = "model",
    tag: str | None = None,
    replace: bool = False,
    delete: Collection[str] = (),
) -> tuple[str, str]:
    """Upload files to a repository in one commit; create it if there is none.

    Args:
        repo: ``NAME`` for a repository of the logged-in user, or ``OWNER/NAME``.
        files: content, or path of the content, by name in the repository.
        message: the commit's message.
        private: create a private repository; one that exists stays as it is.
        revision: branch, created if there is none; by default ``main``.
        kind: ``model`` or ``dataset``.
        tag: tag that is moved to the commit.
        replace: delete other files in the top folders of the uploaded ones.
        delete: names of files to delete in the same commit.

    Returns the repository's full name and the commit. Raises UserError if the hub refuses it or
    cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

    _check_online(repo)
    with explained(repo, revision):
        _check_reachable(repo, constants.ENDPOINT)
        api = HfApi(endpoint=constants.ENDPOINT, library_name="rgb2act")
        created = api.create_repo(repo, private=private or None, exist_ok=True, repo_type=kind)
        name = created.repo_id
        if revision:
            api.create_branch(name, branch=revision, exist_ok=True, repo_type=kind)
        operations: list[Any] = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in files.items()
        ]
        operations += [CommitOperationDelete(path) for path in delete]
        if replace:
            info: Any = api.repo_info(name, repo_type=kind, revision=revision)
            stale = _stale([each.rfilename for each in info.siblings or ()], files)
            operations += [CommitOperationDelete(path) for path in stale]
        commit = api.create_commit(
            name, operations, commit_message=message, revision=revision, repo_type=kind
        )
        if tag:
            with contextlib.suppress(Exception):  # there is none yet
                api.delete_tag(name, tag=tag, repo_type=kind)
            api.create_tag(name, tag=tag, revision=commit.oid, repo_type=kind, exist_ok=True)
    return str(name), str(commit.oid)


def listed(repo: str, revision: str | None, kind: str = "model") -> frozenset[str]:
    """Return the names of the files in a repository; none if it, or the revision, does not exist.

    Raises UserError if the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi, constants, errors

    _check_online(repo)
    with explained(repo, revision):
        _check_reachable(repo, constants.ENDPOINT)
        api = HfApi(endpoint=constants.ENDPOINT, library_name="rgb2act")
        name = repo if "/" in repo else f"{api.whoami()['name']}/{repo}"
        try:
            info: Any = api.repo_info(name, repo_type=kind, revision=revision)
        except errors.GatedRepoError:
            raise
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
            return frozenset()
    return frozenset(each.rfilename for each in info.siblings or ())


def _stale(there: list[str], files: Collection[str]) -> list[str]:
    """Return what a repository contains in the top folders of ``files``, without ``files``."""
    folders = {path.partition("/")[0] for path in files if "/" in path}
    return [path for path in there if path.partition("/")[0] in folders and path not in files]


def push_folder(
    folder: Path,
    repo: str,
    message: str,
    *,
    private: bool = False,
    revision: str | None = None,
    kind: str = "model",
    tag: str | None = None,
) -> tuple[str, str]:
    """Upload all files of a folder as ``send`` does; hidden files are left out.

    A data set for LeRobot has ``kind="dataset"`` and ``tag="v3.0"``, the version of its format.
    A data set replaces the one in the repository: other files in its folders are deleted.
    Returns the repository's full name and the commit. Raises UserError if the folder has no files,
    links to files outside it, or if the hub refuses it.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files: dict[str, bytes | Path] = {}
    for path in paths:
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            check_within(path, folder)
            files[name.as_posix()] = path
    if not files:
        raise UserError(f"{folder}: has no files to push; give another folder")
    return send(
        repo,
        files,
        message,
        private=private,
        revision=revision,
        kind=kind,
        tag=tag,
        replace=kind == "dataset",
    )


def fetch(repo: str, name: str, revision: str | None, limit: int, kind: str = "model") -> Path:
    """Return the local path of a file of a repository, downloading it unless it is cached.

    An interrupted download resumes. Raises UserError if the file has more than ``limit`` bytes, if
    there is no such file, or if the hub refuses it or cannot be reached. With ``HF_HUB_OFFLINE=1``
    only the cache is read.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    endpoint, cached_only = constants.ENDPOINT, offline()
    with explained(repo, revision, name):
        if not cached_only:
            _check_reachable(repo, endpoint)
            url = hf_hub_url(repo, name, repo_type=kind, revision=revision, endpoint=endpoint)
            size = get_hf_file_metadata(url, endpoint=endpoint).size
            if size is None or size > limit:
                found = "an unknown size" if size is None else format_bytes(size)
                raise UserError(
                    f"{repo}: {name} has {found}, at most {format_bytes(limit)} are accepted"
                )
        path = hf_hub_download(
            repo,
            name,
            repo_type=kind,
            revision=revision,
            endpoint=endpoint,
            cache_dir=constants.HF_HUB_CACHE,
            local_files_only=cached_only,
            library_name="rgb2act",
        )
    return Path(path)


def commit_of(path: Path, name: str) -> str:
    """Return the commit of a file that ``fetch`` returned, from its folder in the cache."""
    return path.parents[len(Path(name).parts) - 1].name


def _check_online(repo: str) -> None:
    if offline():
        raise UserError(f"{repo}: HF_HUB_OFFLINE is set; unset it to push")


def _check_reachable(repo: str, endpoint: str) -> None:
    if reason := reason_unreachable(endpoint):
        raise UserError(f"{repo}: {endpoint} cannot be reached ({reason}); run again later")


@contextlib.contextmanager
def explained(repo: str, revision: str | None = None, name: str = "") -> Iterator[None]:
    """Raise UserError for errors of the hub: one line that names the repository and a remedy."""
    from huggingface_hub import errors

    others: tuple[type[Exception], ...] = (OSError, *_transport_errors())
    try:
        yield
    except errors.HFValidationError as err:
        raise UserError(f"{repo}: is no name of a repository; give OWNER/NAME") from err
    except errors.GatedRepoError as err:
        raise UserError(f"{repo}: is gated; accept its terms on its page, then {LOG_IN}") from err
    except errors.RevisionNotFoundError as err:
        raise UserError(f"{repo}: has no revision {revision!r}; give another --revision") from err
    except errors.RepositoryNotFoundError as err:
        raise UserError(
            f"{repo}: does not exist, or you may not read it; check the name, or {LOG_IN}"
        ) from err
    except errors.LocalEntryNotFoundError as err:
        reason = "HF_HUB_OFFLINE is set" if offline() else "the hub cannot be reached"
        raise UserError(f"{repo}: {name} is not on this machine, and {reason}") from err
    except errors.EntryNotFoundError as err:
        raise UserError(
            f"{repo}: has no {name}, so it has nothing complete that rgb2act pushed; check the name"
        ) from err
    except errors.HfHubHTTPError as err:
        raise UserError(f"{repo}: {_refusal(err.response.status_code, err)}") from err
    except others as err:
        raise UserError(
            f"{repo}: transfer failed ({first_line(err)}); run again to resume"
        ) from err


def _refusal(code: int, err: Exception) -> str:
    if code == 401:
        return f"the hub does not know you (401); {LOG_IN}"
    if code == 403:
        return f"your token may not do this (403); {LOG_IN} with a token that may write"
    return f"the hub answers {code} ({first_line(err)}); run again later"


def _transport_errors() -> tuple[type[Exception], ...]:
    """Return the base of the errors of the HTTP library that this huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
