"""A hub on the loopback address that serves folders in the real one's layout, for HF_ENDPOINT.

It answers what the hub client asks when it downloads a repository: what a revision is, the list
of its files, and each file, the large ones by way of a redirect, whole or from a byte on. A test
may take files away, gate a repository, or have transfers break off.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """The files of each commit, and the commit that main stands at."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""
    gated_status: int = 0  # 401 | 403; 0 is open to all
    withheld: set[str] = field(default_factory=set)  # listed, and not there when asked for


class LoopbackHub:
    """`with LoopbackHub() as hub:` serves until the block ends; `address` is its HF_ENDPOINT."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str, str]] = []  # method, path, Range header
        self.breaks: dict[str, list[int]] = {}  # by file: bytes sent of each transfer that breaks
        self._large: dict[str, tuple[str, bytes]] = {}  # by sha256: the file's path, its content
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        # Another host by name, as the real hub's store is: the client asks it for content only.
        self._store = f"http://localhost:{self._server.server_port}"

    def commit(self, name: str, files: Mapping[str, bytes], commit: str) -> Repository:
        """Put a commit on the main branch of the repository `name`, "owner/name"."""
        repository = self.repositories.setdefault(name, Repository())
        repository.commits[commit] = dict(files)
        repository.main = commit
        for path, content in files.items():
            if is_large(path):
                self._large[hashlib.sha256(content).hexdigest()] = (path, content)
        return repository

    def files_asked(self) -> set[str]:
        """The paths in their repositories of the files that were asked for."""
        return {
            path.split("/resolve/")[1].split("/", 1)[1]
            for _, path, _ in self.asked
            if "/resolve/" in path
        }

    def stop(self) -> None:
        """Answer nothing more: from now on the hub cannot be reached."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LoopbackHub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def answer(self, path: str) -> _Answer:
        """What the hub says to a request for this path."""
        if path.startswith("/large/"):
            file, content = self._large[path.removeprefix("/large/")]
            return _Answer(200, {"ETag": _quoted(path.rpartition("/")[2])}, content, file)
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models").split("/")[1:]
        owner, name, verb, revision, *rest = parts if len(parts) > 3 else (*parts[:2], "", "main")
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None:
            return _refused(404, "RepoNotFound")
        if repository.gated_status:
            return _refused(repository.gated_status, "GatedRepo")
        commit = repository.main if revision == "main" else revision
        files = repository.commits.get(commit)
        if files is None:
            return _refused(404, "RevisionNotFound")
        if api:
            listing = _tree(files) if verb == "tree" else _info(f"{owner}/{name}", commit, files)
            return _Answer(200, {"Content-Type": "application/json"}, json.dumps(listing).encode())
        file = "/".join(rest)
        if file not in files or file in repository.withheld:
            return _refused(404, "EntryNotFound", {"X-Repo-Commit": commit})
        return self._file(file, files[file], {"X-Repo-Commit": commit})

    def _file(self, path: str, content: bytes, headers: dict[str, str]) -> _Answer:
        if not is_large(path):
            return _Answer(200, {**headers, "ETag": _quoted(_blob(content))}, content, path)
        digest = hashlib.sha256(content).hexdigest()
        linked = {"X-Linked-ETag": _quoted(digest), "X-Linked-Size": str(len(content))}
        return _Answer(302, {**headers, **linked, "Location": f"{self._store}/large/{digest}"})


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file under the folder, by its path there."""
    return {
        str(each.relative_to(folder).as_posix()): each.read_bytes()
        for each in sorted(folder.rglob("*"))
        if each.is_file()
    }


def is_large(path: str) -> bool:
    """Whether the hub keeps the file apart from its git repository."""
    return path.endswith((".safetensors", ".bin", ".ckpt"))


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    content: bytes = b""
    file: str = ""  # its path in the repository, where the content is a file's


def _refused(status: int, code: str, headers: Mapping[str, str] | None = None) -> _Answer:
    return _Answer(status, {**(headers or {}), "X-Error-Code": code, "X-Error-Message": code})


def _info(name: str, commit: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "id": name,
        "modelId": name,
        "sha": commit,
        "private": False,
        "siblings": [{"rfilename": path} for path in files],
    }


def _tree(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [_listed(path, content) for path, content in files.items()]


def _listed(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
    if is_large(path):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return entry


def _blob(content: bytes) -> str:
    """The name that git gives to this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _quoted(text: str) -> str:
    return f'"{text}"'


def _handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            wanted = self.headers.get("Range", "")
            hub.asked.append((self.command, path, wanted))
            answer = hub.answer(path)
            content, status, headers = answer.content, answer.status, dict(answer.headers)
            if wanted and status == 200:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                content, status = content[start:], 206
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            left = hub.breaks.get(answer.file)
            if left:
                content = content[: left.pop(0)]
                self.close_connection = True
            self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler
