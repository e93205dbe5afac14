"""A proxy on the way to a service that breaks requests as a test says.

`rule(method, path, action)` is asked for every request and answers with what happens to it:
None       it goes through
"refuse"   nothing goes through, the connection is closed
"lose"     the service does it, the answer is lost
"503"      an error, the service never hears of it; "slow" is the one that asks for fewer requests
"hang"     no answer until the rule changes, then as "refuse"
"twice"    the service does it twice, the second answer counts
"repeat"   each message of a ReceiveMessage answer comes twice
`seen` lists (method, path, action, status) of what went through, `unknown` (method, path) of what was
sent to the service and whose answer was cut off.
"""
import json
import socket
import threading
import time


def read_message(stream):
    """Head lines and body of a request or an answer; None at the end of the connection."""
    first = stream.readline()
    if not first:
        return None
    head, length = [first], 0
    while True:
        line = stream.readline()
        if not line:
            return None
        head.append(line)
        if line in (b"\r\n", b"\n"):
            break
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    return head, length


def header(head, name):
    for line in head[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode()
    return ""


class FaultProxy:
    def __init__(self, target_port, host="127.0.0.1"):
        self.target_port, self.host = target_port, host
        self.rule = lambda method, path, action: None
        self.lock, self.seen, self.unknown = threading.Lock(), [], []
        self.sockets, self.closed = set(), False
        self.listener = socket.create_server((host, 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return "http://%s:%d" % (self.host, self.port)

    def close(self):
        self.closed = True
        self.listener.close()
        self.cut()

    def cut(self):
        """Ends every connection there is."""
        with self.lock:
            for s in list(self.sockets):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _forward(self, state, request, method):
        """The service's answer, as (status, bytes)."""
        if state.get("upstream") is None:
            state["upstream"] = socket.create_connection(("127.0.0.1", self.target_port), timeout=60)
            state["stream"] = state["upstream"].makefile("rb")
            with self.lock:
                self.sockets.add(state["upstream"])
        state["upstream"].sendall(request)
        while True:
            got = read_message(state["stream"])
            if got is None:
                raise OSError("the service hung up")
            head, length = got
            status = int(head[0].split()[1])
            if status != 100:
                break
        body = b"" if method == "HEAD" or status in (204, 304) else state["stream"].read(length)
        return status, head, body

    def _serve(self, client):
        state = {}
        with self.lock:
            self.sockets.add(client)
        try:
            stream = client.makefile("rb")
            while self._one(client, stream, state):
                pass
        except OSError:
            pass
        finally:
            for s in (client, state.get("upstream")):
                if s is not None:
                    with self.lock:
                        self.sockets.discard(s)
                    s.close()

    def _one(self, client, stream, state):
        got = read_message(stream)
        if got is None:
            return False
        head, length = got
        method, path = head[0].decode().split()[:2]
        if header(head, b"expect"):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = [line for line in head if not line.lower().startswith(b"expect:")]
        request = b"".join(head) + stream.read(length)
        action = header(head, b"x-amz-target").partition(".")[2]
        fate = self.rule(method, path, action)
        while fate == "hang" and not self.closed:
            time.sleep(0.05)
            if self.rule(method, path, action) != "hang":
                return False
        if fate in ("refuse", "hang"):
            return False
        if fate in ("503", "slow"):
            code = b"SlowDown" if fate == "slow" else b"ServiceUnavailable"
            body = b"<Error><Code>%s</Code><Message>by the test</Message></Error>" % code
            client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + (b"" if method == "HEAD" else body))
            return True
        try:
            if fate == "twice":
                self._forward(state, request, method)
            status, answer_head, body = self._forward(state, request, method)
        except OSError:
            with self.lock:
                self.unknown.append((method, path))
            raise
        with self.lock:
            self.seen.append((method, path, action, status))
        if fate == "lose":
            return False
        if fate == "repeat" and action == "ReceiveMessage" and status == 200:
            answer = json.loads(body or b"{}")
            if answer.get("Messages"):
                answer["Messages"] = (answer["Messages"] * 2)[:10]
                body = json.dumps(answer).encode()
                answer_head = [line for line in answer_head if not line.lower().startswith(b"content-length")]
                answer_head.insert(1, b"Content-Length: %d\r\n" % len(body))
        client.sendall(b"".join(answer_head) + body)
        return header(answer_head, b"connection").lower() != "close"
