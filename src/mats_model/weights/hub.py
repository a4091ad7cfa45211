"""The hub, spoken to directly: its own library goes on with no download that was killed, and tells more of the user
than a name.

Files of one commit, whole, with the SHA-256 that the hub tells of them, as plain files in a folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mats_model.errors import ModelError, UsageError
from mats_model.files import write
from mats_model.places import expanded, hub_home
from mats_model.weights.connect import Refused, Say, check_url, is_offline, opened, refuse_offline, tried
from mats_model.weights.fetch import Progress, disk, get, nobody, read_note

if TYPE_CHECKING:
    from email.message import Message

RECORD = ".hub.json"  # beside files of the hub: the commit they are of, and what else it holds


def files(
    repo: str, names: Sequence[str], folder: Path, *, revision: str = "main",
    say: Say = nobody, progress: Progress = nobody, offline: bool = False, known: Sequence[str] = (),
) -> dict[str, Path]:  # fmt: skip
    """Those of `names` that a repository of the hub has, as plain files under `folder`; `progress` counts all that are
    fetched together.

    What is there is used as it is, and the network is not asked about names that the repository was seen to lack. Files
    are of one commit and have the SHA-256 that the hub tells of them. HF_ENDPOINT and HF_TOKEN count. Errors:
    UsageError for a repo or name that is none; ModelError, which takes from `known` the repositories whose names are
    like a wrong one.
    """
    _check_names(repo, names)
    paths = {name: folder / name for name in names}
    here = {name: path for name, path in paths.items() if path.is_file()}
    record = read_note(folder / RECORD)
    if (record.get("repo"), record.get("revision")) != (repo, revision):
        record = {}
    lacking = [name for name in paths if name not in here and (not here or not record or name in record["files"])]
    # without a record they were put there by hand, and whoever reads them knows which are needed
    if not lacking or (here and not record and is_offline(offline)):
        return here
    refuse_offline(
        f"{lacking[0]} of {repo}",
        f"run once with a network, or put the files of https://huggingface.co/{repo} into {folder}",
        offline,
    )
    if not record or not record["files"].keys() & set(lacking):
        record = _listing(repo, revision, known, say)
        with disk(folder / RECORD):
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / RECORD, (json.dumps(record) + "\n").encode())
    wanted = {name: record["files"][name] for name in lacking if name in record["files"]}
    total, done = sum(file["size"] for file in wanted.values()), 0
    for name, file in wanted.items():
        url = f"{_endpoint()}/{repo}/resolve/{quote(record['commit'], safe='')}/{quote(name)}"

        def count(at: int, _: int, before: int = done) -> None:
            progress(before + at, total)

        get(url, paths[name], file["sha256"], _refused(repo, revision, known), say, count, token=_token())
        done += file["size"]
    found = {name: path for name, path in paths.items() if path.is_file()}
    if not found:
        holds = ", ".join(sorted(record["files"])[:8]) or "nothing"
        raise ModelError(f"{repo} on the hub has none of {', '.join(names)} (it holds {holds}): choose another model.")
    return found


def names(
    repo: str, *, revision: str = "main", say: Say = nobody, offline: bool = False, known: Sequence[str] = ()
) -> list[str]:
    """The file names of a repository of the hub, sorted; always asks the network. Errors: as of `files`."""
    _check_names(repo)
    refuse_offline(f"the list of the files of {repo}", "run once with a network", offline)
    return sorted(_listing(repo, revision, known, say)["files"])


def _listing(repo: str, revision: str, known: Sequence[str], say: Say) -> dict[str, Any]:
    """The record of a repository: of each file its size or 0, and its SHA-256 or "" (small files have none there)."""
    url = f"{_endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"

    def ask() -> Any:
        with opened(url, _token(), {}) as response:
            return json.loads(response.read())

    try:
        told = tried(ask, url, _refused(repo, revision, known), say)
        held = {
            str(file["rfilename"]): {
                "size": int(file.get("size") or 0),
                "sha256": str((file.get("lfs") or {}).get("sha256") or ""),
            }
            for file in told["siblings"]
        }
        return {"repo": repo, "revision": revision, "commit": str(told.get("sha") or revision), "files": held}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{_endpoint()} does not answer like the hub: check HF_ENDPOINT, or whether this network wants a login."
        ) from None


def _refused(repo: str, revision: str, known: Sequence[str]) -> Refused:
    def refused(code: int, headers: Message) -> ModelError:
        kind, said, page = (
            headers.get("X-Error-Code", ""),
            headers.get("X-Error-Message", ""),
            f"https://huggingface.co/{repo}",
        )
        # to who brings no token, the hub says 401 of what does not exist as well
        if "Invalid credentials" in said or (code == 401 and _token() and kind not in ("GatedRepo", "RepoNotFound")):
            return ModelError(
                f"the hub refuses the token of HF_TOKEN or of `hf auth login` for {repo} (401): set a valid one, or "
                "none."
            )
        if kind == "GatedRepo":
            return ModelError(
                f"{repo} is given to who accepts its licence: accept it on its page {page} and set HF_TOKEN to a "
                "token of that account."
            )
        if kind == "RevisionNotFound":
            return ModelError(
                f"{repo} has no revision {revision} (any more): name another, or remove the folder that it was "
                "fetched into."
            )
        if code in (401, 404) and kind != "EntryNotFound":
            from difflib import get_close_matches

            names = {name.lower(): name for name in known}
            near = " or ".join(names[name] for name in get_close_matches(repo.lower(), names))
            return ModelError(
                f"there is no model {repo} on the hub: "
                + (f"did you mean {near}?" if near else "check its name (a private one needs HF_TOKEN).")
            )
        if code == 403:
            return ModelError(
                f"the hub does not give {repo} to this account (403): set HF_TOKEN to a token that may read it."
            )
        return ModelError(
            f"the hub answers {code} about {repo} ({said or kind or 'it says no more'}): try again later."
        )

    return refused


def _endpoint() -> str:
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    check_url(endpoint)
    return endpoint


def _token() -> str:
    """Of HF_TOKEN, or of the file that `hf auth login` leaves; "" where there is none. Errors: UsageError."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        with suppress(OSError, ValueError, RuntimeError):
            token = expanded(os.environ.get("HF_TOKEN_PATH") or str(hub_home() / "token")).read_text("utf-8").strip()
    if not re.fullmatch("[!-~]*", token):
        raise UsageError("HF_TOKEN holds characters that no token has: set it anew.")
    return token


def _check_names(repo: str, names: Sequence[str] = ()) -> None:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo, re.ASCII):
        raise UsageError(f"{repo!r} is no name of a model on the hub: give OWNER/NAME, such as laion/clap-htsat-fused.")
    for name in names:
        path = PureWindowsPath(name)  # splits at / and \ alike
        if not path.name or path.drive or path.root or ".." in path.parts:
            raise UsageError(f"{name!r} is no name of a file in a repository: it would lie outside of its folder.")
