"""A TCP proxy that does to connections what networks do.

Owns bytes on their way and nothing of what they mean. Modes, to be changed at any time:

    pass        nothing wrong
    refuse      nobody listens; connections are gone
    black-hole  connections are taken, bytes too, and nothing ever comes back
    reset       every connection is reset as soon as it says something
    swallow     requests go through, answers do not: the connection ends instead
    cut         the connection ends after so many bytes of the request
    slow        so many bytes a second in each direction, after a delay
"""

import contextlib
import socket
import struct
import threading
import time

MODES = ("refuse", "black-hole", "reset", "swallow", "cut", "slow")
# In the middle of a put: its head has fewer, the smallest object more.
CUT_BYTES = 1_600
# No answer yet: the body may come.
GO_ON = b"HTTP/1.1 100 "
SLOW_BYTES_PER_SECOND, SLOW_DELAY_SECONDS = 200_000, 0.05


class Proxy:
    """In front of `host:port`, on a port that it keeps."""

    def __init__(self, target):
        host, _, port = target.removeprefix("http://").partition(":")
        self.target = (host, int(port))
        self.mode, self.hits = "pass", 0
        self._open = set()
        self._lock = threading.Lock()
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def _listen(self, port):
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def set(self, mode):
        """From now on this mode; every connection of the mode before is gone."""
        before, self.mode, self.hits = self.mode, mode, 0
        if mode == "refuse":
            self._shut(self._listener)
        elif before == "refuse":
            self._listener = self._listen(self.port)
        with self._lock:
            gone, self._open = self._open, set()
        for connection in gone:
            self._shut(connection)

    def close(self):
        self.set("refuse")

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        mode = self.mode
        with self._lock:
            self._open.add(client)
        if mode == "black-hole":
            with contextlib.suppress(OSError):
                while client.recv(1 << 16):
                    self.hits += 1
            return
        if mode == "reset":
            with contextlib.suppress(OSError):
                client.recv(1)
                self.hits += 1
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            return
        try:
            server = socket.create_connection(self.target, 10)
        except OSError:
            self._shut(client)
            return
        with self._lock:
            self._open.add(server)
        there = threading.Thread(target=self._pump, args=(client, server, mode, True), daemon=True)
        there.start()
        self._pump(server, client, mode, False)
        there.join(60)
        with self._lock:
            self._open -= {client, server}

    def _pump(self, source, sink, mode, is_request):
        passed = 0
        try:
            while data := source.recv(1 << 14):
                if mode == "swallow" and not is_request and not data.startswith(GO_ON):
                    self.hits += 1
                    break
                if mode == "slow":
                    self.hits += 1
                    time.sleep(SLOW_DELAY_SECONDS + len(data) / SLOW_BYTES_PER_SECOND)
                if mode == "cut" and is_request and passed + len(data) > CUT_BYTES:
                    sink.sendall(data[: CUT_BYTES - passed])
                    self.hits += 1
                    break
                passed += len(data)
                sink.sendall(data)
        except OSError:
            pass
        self._shut(source)
        self._shut(sink)

    @staticmethod
    def _shut(connection):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
