"""Records what a client asks of `smolserve`, for the tests of `serve/src/tests/recorded.rs`.

    python tests/foreign/record.py 9000 http://127.0.0.1:8000 'aider 0.86.2' > tests/clients/recorded/aider.json

It passes requests on to port 9000 through to the server, until a client asks for /stop. What it prints has the path and the
body of each distinct request that was posted, and what the server left out. Long texts are replaced by their length, because
prompts are the work of others; keys and headers are not recorded.
"""

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LONGEST = 60
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length", "accept-encoding"}
recorded, lock = [], threading.Lock()


def shortened(value):
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"({len(value)} characters of text)"
    if isinstance(value, list):
        return [shortened(item) for item in value]
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    return value


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = None

    def log_message(self, *arguments):
        pass

    def pass_on(self):
        if self.path == "/stop":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            threading.Thread(target=self.server.shutdown).start()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self.upstream.netloc, timeout=600)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection.request(self.command, self.path, body, headers)
        reply = connection.getresponse()
        if self.command == "POST":
            self.record(body, reply)
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while part := reply.read1(65536):
            self.wfile.write(part)
            self.wfile.flush()
        self.close_connection = True

    def record(self, body, reply):
        entry = {"path": self.path, "status": reply.status, "left_out": reply.getheader("x-smolserve-left-out", "")}
        try:
            entry["body"] = shortened(json.loads(body))
        except ValueError:
            entry["body"] = f"({len(body)} bytes)"
        with lock:
            if entry not in recorded:
                recorded.append(entry)
                print(f"{reply.status} {self.path} {entry['left_out']}", file=sys.stderr)

    do_GET = do_POST = do_DELETE = pass_on


def main(port, upstream, client):
    Proxy.upstream = urlsplit(upstream)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Proxy).serve_forever()
    json.dump({"client": client, "requests": recorded}, sys.stdout, indent=1, ensure_ascii=False)
    print()


main(*sys.argv[1:])
