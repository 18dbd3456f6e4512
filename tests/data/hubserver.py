"""A Hugging Face Hub on loopback: the endpoints that huggingface_hub 1.0 to 2.4 calls for a download, with faults.

    with HubServer() as hub:
        repo = hub.add("owner/name", folder)          # what git-lfs would store goes over another host name, as a CDN
        hub.faults["parquet"] = Fault(status=503)     # for every address that ends so

Formats: huggingface_hub 2.4 (hf_api.py, file_download.py, utils/_http.py), https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LFS = (".parquet", ".mp4", ".safetensors")


@dataclass
class Fault:
    """What happens instead. `times`: how often; after that all is well."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1_000_000
    #: Share of the file after which the connection breaks.
    cut: float | None = None
    #: Sent instead of the file, of the same length.
    wrong: bool = False
    #: Seconds before each of the file's 20 pieces.
    slow: float = 0.0
    #: Methods that are meant.
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass
class Repo:
    id: str
    files: dict[str, bytes]
    commit: str = ""
    tags: tuple[str, ...] = ()
    lfs: bool = True

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.id.encode())
        for name, data in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + data)
        self.commit = self.commit or digest.hexdigest()

    def stored(self, name: str) -> bool:
        return self.lfs and name.endswith(LFS)

    def etag(self, name: str) -> str:
        data = self.files[name]
        if self.stored(name):
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def tree(self) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "meta"}]
        for name, data in self.files.items():
            entry: dict[str, object] = {"type": "file", "oid": "1" * 40, "size": len(data), "path": name}
            if self.stored(name):
                entry["lfs"] = {"oid": self.etag(name), "size": len(data), "pointerSize": 130}
            else:
                entry["oid"] = self.etag(name)
            entries.append(entry)
        return entries


@dataclass(frozen=True)
class Asked:
    method: str
    host: str
    path: str
    token: str | None
    range: str | None


class HubServer:
    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.faults: dict[str, Fault] = {}
        self.log: list[Asked] = []
        self._lock = threading.Lock()

    def __enter__(self) -> HubServer:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str:
        """Another host to a client: what is meant for the Hub alone must not go there."""
        return f"http://localhost:{self.port}"

    def add(self, repo: str, folder: Path, *, tags: tuple[str, ...] = (), lfs: bool = True) -> Repo:
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self.repos[repo] = Repo(repo, files, tags=tags, lfs=lfs)
        return self.repos[repo]

    def asked(self, ending: str, method: str = "GET") -> list[Asked]:
        return [each for each in self.log if each.path.endswith(ending) and each.method == method]

    def fault(self, path: str, method: str) -> Fault | None:
        with self._lock:
            for ending, fault in self.faults.items():
                if path.endswith(ending) and method in fault.methods and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that went away, which is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """pytest's output stays clean."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        given = self.headers
        self.hub.log.append(
            Asked(self.command, given["Host"] or "", path, given.get("Authorization"), given.get("Range"))
        )
        fault = self.hub.fault(path, self.command)
        if fault is not None and fault.status:
            self._answer(fault.status, b"", fault.headers)
            return
        if path.startswith("/cdn/"):
            repo, name = next(
                (r, n) for r in self.hub.repos.values() for n in r.files if path == f"/cdn/{r.commit}/{n}"
            )
            self._send(repo, name, fault)
            return
        # Models stand at the root, datasets below their own name.
        api = path.startswith("/api/")
        path = path.removeprefix("/api").removeprefix("/datasets").removeprefix("/models" if api else "")
        owner, name, *rest = path.removeprefix("/").split("/")
        asked = f"{owner}/{name}"
        if asked in self.hub.renamed:
            target = self.path.replace(asked, self.hub.renamed[asked], 1)
            self._answer(307, b"", {"Location": target})
        elif asked not in self.hub.repos:
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif api:
            self._api(self.hub.repos[asked], rest)
        else:
            self._resolve(self.hub.repos[asked], rest, fault)

    def _api(self, repo: Repo, rest: list[str]) -> None:
        if rest[:1] == ["refs"]:
            refs = {
                "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commit}],
                "tags": [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": repo.commit} for t in repo.tags],
                "converts": [],
            }
            self._json(refs)
        elif rest and rest[1] not in ("main", repo.commit, *repo.tags):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif rest[:1] == ["tree"]:
            self._json(repo.tree())
        else:
            self._json({"id": repo.id, "sha": repo.commit, "private": False, "gated": False, "siblings": []})

    def _resolve(self, repo: Repo, rest: list[str], fault: Fault | None) -> None:
        name = "/".join(rest[2:])
        if name not in repo.files:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
            return
        head = {"X-Repo-Commit": repo.commit}
        if repo.stored(name):
            head |= {"X-Linked-Etag": f'"{repo.etag(name)}"', "X-Linked-Size": str(len(repo.files[name]))}
            self._answer(302, b"", head | {"Location": f"{self.hub.cdn}/cdn/{repo.commit}/{name}"})
        else:
            self._send(repo, name, fault)

    def _send(self, repo: Repo, name: str, fault: Fault | None) -> None:
        data = repo.files[name]
        if fault is not None and fault.wrong:
            data = bytes(len(data))
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{repo.etag(name)}"')
        self.send_header("X-Repo-Commit", repo.commit)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = data[start:]
        if fault is not None and fault.cut is not None:
            self.wfile.write(body[: int(len(body) * fault.cut)])
            self.wfile.flush()
            self.close_connection = True
            return
        pieces = 20 if fault is not None and fault.slow else 1
        step = max(1, -(-len(body) // pieces))
        for at in range(0, len(body), step):
            if fault is not None:
                time.sleep(fault.slow)
            self.wfile.write(body[at : at + step])
            self.wfile.flush()

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
