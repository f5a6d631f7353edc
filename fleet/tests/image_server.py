"""An HTTP server with the faults of real ones: it cuts connections, lies about lengths, knows no ranges."""

import email.utils
import hashlib
import http.server
import re
import threading
from dataclasses import dataclass, field


@dataclass
class File:
    content: bytes
    modified: int = 1_700_000_000
    cut_after: int | None = None
    """A connection brings so many bytes, and is cut."""
    says: int | None = None
    """The length that it tells."""
    ranges: bool = True
    status: int = 200
    stalls: bool = False
    """What is asked for behind its beginning never comes."""


@dataclass
class ImageServer:
    """Serves files by path, and notes the ranges that it was asked for."""

    files: dict[str, File] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        server = self
        self._over = threading.Event()

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def do_HEAD(self) -> None:
                server._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def put(self, name: str, content: bytes, **more: int) -> str:
        """Serve a file; returns its SHA-256."""
        self.files[f"/{name}"] = File(content, **more)  # type: ignore[arg-type]
        return hashlib.sha256(content).hexdigest()

    def list(self, *names: str) -> str:
        """Serve SHA256SUMS of files; returns its URL."""
        lines = [f"{hashlib.sha256(self.files[f'/{name}'].content).hexdigest()}  {name}\n" for name in names]
        self.put("SHA256SUMS", "".join(lines).encode())
        return f"{self.url}/SHA256SUMS"

    def _answer(self, answer: http.server.BaseHTTPRequestHandler) -> None:
        file = self.files.get(answer.path)
        if file is None or file.status != 200:
            answer.send_error(404 if file is None else file.status)
            return
        wanted = answer.headers.get("Range", "")
        if answer.command == "GET":
            self.asked.append((answer.path, wanted))
        begin, size = 0, len(file.content)
        if (found := re.fullmatch(r"bytes=(\d+)-", wanted)) and file.ranges:
            begin = int(found.group(1))
            if begin and file.stalls:
                self._over.wait()
                return
            if begin >= size:
                answer.send_response(416)
                answer.send_header("Content-Range", f"bytes */{size}")
                answer.send_header("Content-Length", "0")
                answer.end_headers()
                return
            answer.send_response(206)
            answer.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        else:
            answer.send_response(200)
        answer.send_header("Content-Length", str((size if file.says is None else file.says) - begin))
        answer.send_header("Last-Modified", email.utils.formatdate(file.modified, usegmt=True))
        answer.end_headers()
        if answer.command == "GET":
            part = file.content[begin:]
            answer.wfile.write(part if file.cut_after is None else part[: file.cut_after])
            answer.wfile.flush()
        answer.close_connection = True

    def close(self) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()
