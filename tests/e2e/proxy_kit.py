"""A proxy in front of a server, on which answers get lost to order."""

import socket
import threading


class SwallowingProxy:
    """A TCP proxy in front of a server that closes the connection instead of every fifth answer.

    `on_swallow(number)` runs when the server has answered, before the client learns of its loss.
    """

    def __init__(self, server, every=5, on_swallow=lambda number: None):
        self.server = server
        self.every = every
        self.on_swallow = on_swallow
        self.answers = self.swallowed = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self):
        return "http://%s:%d" % self._listener.getsockname()

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        try:
            host, port = self.server.endpoint.removeprefix("http://").split(":")
            server = socket.create_connection((host, int(port)), 10)
        except (AttributeError, OSError):
            # The server is just being started again.
            client.close()
            return
        asked = threading.Event()
        threading.Thread(target=self._requests, args=(client, server, asked), daemon=True).start()
        self._answers(client, server, asked)

    def _requests(self, client, server, asked):
        try:
            while data := client.recv(65536):
                asked.set()
                server.sendall(data)
        except OSError:
            pass
        close(server)

    def _answers(self, client, server, asked):
        try:
            while data := server.recv(65536):
                if asked.is_set():
                    asked.clear()
                    if self._is_swallowed():
                        break
                client.sendall(data)
        except OSError:
            pass
        close(client)
        close(server)

    def _is_swallowed(self):
        with self._lock:
            self.answers += 1
            if self.answers % self.every:
                return False
            self.swallowed += 1
            # One at a time, so that nobody else's answer is on its way meanwhile.
            self.on_swallow(self.swallowed)
            return True


def close(connection):
    """Ends a connection in both directions, whoever still reads from it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
