"""A local stand-in of the Hub's HTTP API: creating a repository, uploading files (LFS and inline), committing them."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class HubServer:
    """Serves on a free port; `files` holds what was committed, `requests` what was asked, `tokens` who asked.

    With `refuse` every write is answered with that status.
    """

    def __init__(self, refuse: int | None = None) -> None:
        self.refuse = refuse
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                hub.answer(self, "POST")

            def do_PUT(self) -> None:
                hub.answer(self, "PUT")

            def do_GET(self) -> None:
                hub.answer(self, "GET")

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, method: str) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = request.path.split("?")[0]
        self.requests.append((method, path))
        self.tokens.add(request.headers.get("Authorization"))
        if self.refuse is not None:
            self._send(request, self.refuse, {"error": "refused"})
        elif path == "/api/repos/create":
            self.created.append(json.loads(body))
            self._send(request, 200, {"url": f"{self.url}/owner/name", "id": "owner/name", "name": "owner/name"})
        elif "/preupload/" in path:
            asked = json.loads(body)["files"]
            # as the Hub does: text inline, large binaries by LFS
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "regular" if one["path"].endswith((".md", ".json", ".yaml")) else "lfs",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in asked
            ]
            self._send(request, 200, {"files": modes})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            answers = [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}", "header": {}}},
                }
                for one in objects
            ]
            self._send(request, 200, {"transfer": "basic", "objects": answers})
        elif path.startswith("/lfs/") and method == "PUT":
            assert hashlib.sha256(body).hexdigest() == path.removeprefix("/lfs/"), "the Hub checks what arrives"
            self.objects[path.removeprefix("/lfs/")] = body
            self._send(request, 200, {})
        elif "/commit/" in path:
            self._commit(body)
            self._send(
                request, 200, {"commitUrl": f"{self.url}/owner/name/commit/abc", "commitOid": "abc", "hookOutput": ""}
            )
        else:
            self._send(request, 200, {"id": "owner/name", "sha": "abc", "siblings": [], "private": True})

    def _commit(self, body: bytes) -> None:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]

    def _send(self, request: BaseHTTPRequestHandler, status: int, document: dict[str, Any]) -> None:
        text = json.dumps(document).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)
