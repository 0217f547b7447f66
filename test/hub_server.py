"""A server that speaks as much of the hub's protocol as a download needs: HEAD and GET of `resolve`, redirects, ranges.

Files are served by a second origin, as the hub does it. A file can be broken off or held after some bytes.
"""

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "12aa6fa" + "0" * 33


@dataclass
class HubFile:
    """One file: what the hub says of it, and how its next transfers go wrong."""

    data: bytes
    stated_sha256: str | None = None
    commit: str = COMMIT
    status: int = 200
    error_code: str = ""
    hold_after: int | None = None
    break_after: list[int] = field(default_factory=list)

    @property
    def etag(self) -> str:
        return self.stated_sha256 or hashlib.sha256(self.data).hexdigest()


class Hub:
    """Two HTTP servers on this machine.

    `requests` lists (method, path, Range) as they came, `tokens` which origin saw which token.
    """

    def __init__(self) -> None:
        self.files: dict[str, HubFile] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.tokens: set[str] = set()
        self.released = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:  # noqa: N802
                hub._answer(self)

            def do_GET(self) -> None:  # noqa: N802
                hub._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].server_port}"

    def close(self) -> None:
        self.released.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def ranges(self) -> list[str | None]:
        """The Range header of every transfer from the second origin."""
        return [asked for method, path, asked in self.requests if method == "GET" and path.startswith("/blob/")]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append((request.command, request.path, request.headers.get("Range")))
        blob = request.path.startswith("/blob/")
        if request.headers.get("Authorization"):
            self.tokens.add(f"{'blob' if blob else 'hub'}: {request.headers['Authorization']}")
        file = self.files.get(request.path.removeprefix("/blob"))
        if file is None or file.status != 200:
            request.send_response(404 if file is None else file.status)
            request.send_header("X-Error-Code", "EntryNotFound" if file is None else file.error_code)
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif blob:
            self._send(request, file)
        else:
            request.send_response(302)
            request.send_header("Location", f"http://127.0.0.1:{self.servers[1].server_port}/blob{request.path}")
            request.send_header("X-Repo-Commit", file.commit)
            request.send_header("X-Linked-Etag", f'"{file.etag}"')
            request.send_header("X-Linked-Size", str(len(file.data)))
            request.send_header("Content-Length", "0")
            request.end_headers()

    def _send(self, request: BaseHTTPRequestHandler, file: HubFile) -> None:
        asked = request.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = file.data[begin:]
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(body)))
        if asked:
            request.send_header("Content-Range", f"bytes {begin}-{len(file.data) - 1}/{len(file.data)}")
        request.end_headers()
        if request.command == "HEAD":
            return
        if file.break_after:
            request.wfile.write(body[: file.break_after.pop(0)])
            request.close_connection = True
        elif file.hold_after is not None:
            held, file.hold_after = file.hold_after, None
            request.wfile.write(body[:held])
            self.released.wait(60)
            request.close_connection = True
        else:
            request.wfile.write(body)
