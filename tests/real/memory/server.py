# usage: python3 server.py PORT leak|steady
# Both do the same work; one keeps something of each request for good, the other the last few hundred answers.
import collections
import http.server
import json
import signal
import sys

PORT, MODE = int(sys.argv[1]), sys.argv[2]
KEPT = []
RECENT = collections.OrderedDict()


def work(served=[0]):
    served[0] += 1
    body = {"id": served[0], "rows": [{"row": row, "text": f"row {row} of {served[0]}"} for row in range(150)]}
    text = json.dumps(body).encode()
    if MODE == "leak":
        # What was parsed stays in a list that nobody empties.
        KEPT.append(json.loads(text))
    else:
        RECENT[served[0]] = text
        if len(RECENT) > 300:
            RECENT.popitem(last=False)
    return text


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = work() if self.path == "/work" else b'{"ok":true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
