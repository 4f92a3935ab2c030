"""PostgreSQL connections whose credential is a secret that changes. It needs nothing but the Azure SDK and psycopg2.

Two things bring a new credential: a poll, and a login that PostgreSQL refuses. Connections that were signed in with an
old one are closed as they come back, so that nothing under way is cut.
"""

import contextlib
import json
import os
import queue
import random
import secrets as randomness
import socket
import sys
import threading
import time

import psycopg2

# What tells this process apart from others of its identity: the vault waits for each of them before an old credential goes.
INSTANCE = "%s-%d-%s" % (socket.gethostname(), os.getpid(), randomness.token_hex(4))


def refused(error):
    """Whether PostgreSQL refused the credential. psycopg2 has no SQLSTATE for a connection that came to nothing: the server's text tells."""
    text = str(error)
    return isinstance(error, psycopg2.OperationalError) and ("password authentication failed" in text or "is not permitted to log in" in text)


class ChangingCredential:
    """The newest credential of a secret. poll_seconds should be at most a third of the time for which an old one stays valid."""

    def __init__(self, client, name, poll_seconds=60, on_change=lambda version: None):
        self._client, self._name, self._poll, self._on_change = client, name, poll_seconds, on_change
        self._lock = threading.Lock()
        self._current = None
        self._quiet = self._quiet_until = 0
        self._closed = threading.Event()
        self._look()
        self._poller = threading.Thread(target=self._follow, daemon=True)
        self._poller.start()

    @property
    def current(self):
        """The version and the credential, which belong together."""
        return self._current

    def close(self):
        self._closed.set()
        self._poller.join()

    def newer(self, version):
        """Asks once for all who were refused with the version; false when it is the newest. Then nobody asks for one second, then two, up to a minute."""
        with self._lock:
            if self._current[0] != version:
                return True
            if time.monotonic() < self._quiet_until:
                return False
            self._fetch()
            if self._current[0] != version:
                return True
            self._quiet = min(60, max(1, 2 * self._quiet))
            self._quiet_until = time.monotonic() + random.uniform(self._quiet / 2, self._quiet)
            return False

    def _look(self):
        with self._lock:
            self._fetch()

    def _fetch(self):
        secret = self._client.get_secret(self._name, headers={"X-Keywright-Instance": INSTANCE})
        version = secret.properties.version
        if self._current and self._current[0] == version:
            return
        value = json.loads(secret.value)
        self._current = version, value["username"], value["password"]
        self._quiet = self._quiet_until = 0
        self._on_change(version)

    def _follow(self):
        # Pollers that began together must not stay together: give or take a fifth.
        while not self._closed.wait(self._poll * random.uniform(0.8, 1.2)):
            try:
                self._look()
            except Exception as error:  # whatever it is, the old credential stays in use
                print("the secret cannot be read; the old one stays in use:", error, file=sys.stderr)


class ChangingPool:
    """Connections to PostgreSQL. max_age is how long one may live, in seconds."""

    def __init__(self, credential, size=8, max_age=300, **parameters):
        self._credential, self._max_age, self._parameters = credential, max_age, parameters
        self._free = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)

    @contextlib.contextmanager
    def connection(self):
        """Lends a connection; a refused login is tried again once with a newer credential."""
        slot = self._free.get()
        try:
            if slot is None or self._old(slot):
                self._drop(slot)
                slot = None
                slot = self._connect()
            yield slot[0]
        except BaseException:
            self._drop(slot)  # nobody knows what is left on it
            slot = None
            raise
        finally:
            self._free.put(slot)

    def close(self):
        with contextlib.suppress(queue.Empty):
            while True:
                self._drop(self._free.get_nowait())

    def _old(self, slot):
        _, version, born = slot
        return version != self._credential.current[0] or time.monotonic() - born > self._max_age

    @staticmethod
    def _drop(slot):
        if slot is not None:
            slot[0].close()

    def _connect(self):
        version, user, password = self._credential.current
        try:
            return self._login(version, user, password)
        except psycopg2.OperationalError as error:
            if not refused(error) or not self._credential.newer(version):
                raise
        return self._login(*self._credential.current)

    def _login(self, version, user, password):
        connection = psycopg2.connect(user=user, password=password, **self._parameters)
        connection.autocommit = True
        return connection, version, time.monotonic()
