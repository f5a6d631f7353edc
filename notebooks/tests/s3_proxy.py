"""A server between a server of S3 and who uses it, which behaves as a test wants."""

import http.client
import http.server
import threading
import urllib.parse


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to the server of S3, as `behave` lets it."""

    daemon_threads = True

    def __init__(self, target, behave, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.target, self.behave = urllib.parse.urlparse(target), behave
        self.written = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            with self.server.lock:
                self.server.written += 1
        if self.server.behave(self):
            return
        connection = http.client.HTTPConnection(self.server.target.netloc, timeout=300)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ["transfer-encoding", "connection", "content-length", "date", "server"]:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = any


def error_of_s3(handler, status, code):
    body = f"<Error><Code>{code}</Code><Message>Says the test</Message></Error>"
    handler.answer(status, body.encode())
    return True
