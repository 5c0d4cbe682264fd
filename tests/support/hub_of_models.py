"""A local stand-in of the Hub that models are downloaded from: what huggingface_hub's client asks, over real HTTP."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 16 * 1024


class ModelHub(ThreadingHTTPServer):
    """Serves the files of `folder` as the model `name`; `sent` has the files that were asked for, in order.

    `between` is called with a file's name between two pieces of it and may raise, which breaks the connection.
    """

    daemon_threads = True

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.folder = name, folder
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.between: Callable[[str], None] = lambda file: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> dict[str, Path]:
        return {path.relative_to(self.folder).as_posix(): path for path in sorted(self.folder.rglob("*.*"))}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: ModelHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(self.path)
        api = f"/api/models/{self.server.name}"
        if path.startswith(f"{api}/tree/"):
            self._json([self._entry(name, file) for name, file in self.server.files().items()])
        elif path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": name, "size": file.stat().st_size} for name, file in self.server.files().items()]
            self._json({"id": self.server.name, "sha": COMMIT, "siblings": siblings, "private": False})
        elif path.startswith("/api/"):
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        else:
            self._file(body=True)

    def _entry(self, name: str, file: Path) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": file.stat().st_size, "oid": _etag(file)}

    def _file(self, *, body: bool) -> None:
        start = f"/{self.server.name}/resolve/"
        name = self.path.split("?")[0].removeprefix(start).partition("/")[2]
        file = self.server.files().get(name)
        if not self.path.startswith(start) or file is None:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{_etag(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        self.server.sent.append(name)
        for at in range(0, len(content), PIECE):
            self.wfile.write(content[at : at + PIECE])
            self.wfile.flush()
            self.server.between(name)

    def _json(self, document: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def model_hub(name: str, folder: Path) -> Iterator[ModelHub]:
    """Run a hub with one model until the block ends."""
    with ModelHub(name, folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
