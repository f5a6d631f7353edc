"""Google Cloud Storage as far as a store uses it: its XML interface, in front of the buckets of moto.

It has what differs from S3: tokens that a service account signs or that the server of metadata gives, conditions on generations,
its own names of headers, an answer of 404 to the removal of what is not there, and one write of an object in a second. What
Google would refuse or leave unread, it refuses, such as the headers of S3.
"""

import base64
import contextlib
import json
import secrets
import threading
import time
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

SCOPES = ["devstorage.read_write", "devstorage.full_control", "cloud-platform"]
EMAIL = "lab@project.iam.gserviceaccount.com"
# So that moto, which finds out from it what is asked for, knows that it is S3.
OF_S3 = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def service_account():
    """A key of a service account, as Google hands it out, and the same as what checks it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": secrets.token_hex(20),
        "private_key": text.decode(),
        "client_email": EMAIL,
    }
    return file, key.public_key()


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


class Google:
    """The server; `behave` may answer a request in its place."""

    def __init__(self):
        self.s3 = DomainDispatcherApplication(create_backend_app)
        self.account, self.public_key = service_account()
        self.machine_token = secrets.token_hex(20)
        self.is_open = False
        self.behave = lambda request: None
        self.requests = []
        self.written = {}
        self.lock = threading.Lock()
        self.server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()

    def __call__(self, environ, start_response):
        request = Request(environ)
        body = request.get_data()
        answer = self.behave(request) or self.answer(request, body)
        return answer(environ, start_response)

    def answer(self, request, body):
        with self.lock:
            self.requests.append((request.method, request.full_path))
        if request.path.startswith("/computeMetadata/v1/"):
            return self.metadata(request)
        if not self.is_open and not self.is_known(request.headers.get("Authorization", "")):
            return error(401, "AuthenticationRequired", "Authentication required.")
        bucket, _, name = request.path.lstrip("/").partition("/")
        foreign = [header for header, _ in request.headers if header.lower().startswith("x-amz-")]
        if foreign or "If-None-Match" in request.headers or len(name.encode()) > 1024:
            return error(400, "InvalidArgument", f"not of Google: {foreign}")
        if not name and request.args.get("list-type") != "2":
            return error(400, "InvalidArgument", "not a list of the second kind")
        is_object = name and not request.args
        if is_object and request.method == "DELETE" and self.asked(request, "HEAD").status_code == 404:
            return error(404, "NoSuchKey", "The specified key does not exist.")
        if is_object and request.method == "PUT" and self.is_too_often(bucket, name):
            return error(429, "SlowDown", "The object exceeded the rate limit for object mutation operations.")
        return self.asked(request, request.method, body)

    def asked(self, request, method, body=b""):
        """What S3 answers to a request that was made of Google."""
        headers = {"Authorization": OF_S3, "Host": self.host}
        for header, value in request.headers:
            header = header.lower()
            if header == "x-goog-if-generation-match":
                assert value == "0", "only that there is none"
                headers["If-None-Match"] = "*"
            elif header.startswith("x-goog-meta-"):
                headers[header.replace("x-goog-", "x-amz-")] = value
            elif header in ["content-type", "range"]:
                headers[header] = value
        # All but letters and digits is escaped by who asks Google, and moto reads the name of a bucket as it is written.
        path = urllib.parse.quote(urllib.parse.unquote(request.environ["RAW_URI"].partition("?")[0]))
        query = request.query_string.decode()
        of_s3 = Request.from_values(
            path=path, base_url=f"http://{self.host}", query_string=query, method=method, data=body
        )
        environ = {**of_s3.environ, "RAW_URI": f"{path}?{query}" if query else path}
        for header, value in headers.items():
            key = header.upper().replace("-", "_")
            environ[key if key in ["CONTENT_TYPE", "CONTENT_LENGTH"] else f"HTTP_{key}"] = value
        parts, status, answered = run_wsgi_app(self.s3, environ, buffered=True)
        answer = Response(b"".join(parts), status=status)
        for header, value in answered:
            lower = header.lower()
            if lower.startswith("x-amz-meta-"):
                answer.headers[lower.replace("x-amz-", "x-goog-")] = value
            elif not lower.startswith("x-amz-") and lower not in ["content-length", "date", "server", "connection"]:
                answer.headers[header] = value
            elif lower == "content-length" and method == "HEAD":
                answer.headers[header] = value
        answer.headers["x-goog-generation"] = str(time.time_ns() // 1000)
        return answer

    def is_too_often(self, bucket, name):
        with self.lock:
            now = time.monotonic()
            before, self.written[bucket, name] = self.written.get((bucket, name)), now
            return before is not None and now - before < 1

    def metadata(self, request):
        if request.headers.get("Metadata-Flavor") != "Google":
            return error(403, "Forbidden", "the flavor is missing")
        token = {"access_token": self.machine_token, "expires_in": 3599, "token_type": "Bearer"}
        return Response(json.dumps(token), content_type="application/json")

    def is_known(self, authorization):
        kind, _, token = authorization.partition(" ")
        if kind != "Bearer":
            return False
        if token == self.machine_token:
            return True
        with contextlib.suppress(ValueError, InvalidSignature):
            signed, _, signature = token.rpartition(".")
            header, claims = (json.loads(decoded(part)) for part in signed.split("."))
            self.public_key.verify(decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            has_scope = any(claims["scope"] == f"https://www.googleapis.com/auth/{it}" for it in SCOPES)
            lasts = claims["iat"] - 60 <= time.time() < claims["exp"] <= claims["iat"] + 3600
            of_account = claims["iss"] == claims["sub"] == EMAIL
            return header["alg"] == "RS256" and header["kid"] == self.account["private_key_id"] and has_scope and lasts and of_account
        return False


def error(status, code, message):
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(body, status=status, content_type="application/xml; charset=UTF-8")
