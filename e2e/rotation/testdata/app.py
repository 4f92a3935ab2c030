"""An application that knows nothing of Keywright: Azure's SDK, psycopg2, and a session to a database for each of SECRETS.

POLL is how often it reads them again, in seconds; 0 is once, at the start. With SPARSE it is signed in for two of every four seconds only. It prints
what it holds, and everything that fails.
"""

import json
import os
import time

import psycopg2
from azure.identity import EnvironmentCredential
from azure.keyvault.secrets import SecretClient

client = SecretClient(os.environ["VAULT_URL"], EnvironmentCredential())
poll = float(os.environ["POLL"])
sparse = os.environ.get("SPARSE") == "1"


def say(*words):
    print(*words, flush=True)


class Login:
    def __init__(self, name):
        self.name, self.version, self.session, self.since, self.read_at = name, None, None, 0, 0

    def read(self):
        self.read_at = time.monotonic()
        secret = client.get_secret(self.name)
        if secret.properties.version == self.version:
            return
        self.value = json.loads(secret.value)
        if self.sign_in():
            self.version = secret.properties.version
            say("holds", self.name, self.version)

    def sign_in(self):
        """The new session takes the place of the one before, which stays when it is refused."""
        self.since = time.monotonic()
        try:
            fresh = psycopg2.connect(user=self.value["username"], password=self.value["password"])
        except psycopg2.OperationalError as e:
            say("refused", self.name, str(e).replace("\n", " "))
            return False
        self.leave()
        self.session = fresh
        return True

    def leave(self):
        if self.session:
            self.session.close()
        self.session = None

    def work(self):
        if poll and time.monotonic() - self.read_at > poll:
            self.read()
        if sparse and time.monotonic() % 4 > 2:
            self.leave()
        elif self.session is None or time.monotonic() - self.since > 1:
            self.sign_in()
        if self.session:
            with self.session.cursor() as cursor:
                cursor.execute("SELECT 1")
            self.session.rollback()


logins = [Login(name) for name in os.environ["SECRETS"].split(",")]
for login in logins:
    login.read()
while True:
    for login in logins:
        try:
            login.work()
        except Exception as e:
            say("failed", login.name, str(e).replace("\n", " "))
            login.leave()
    say("worked")
    time.sleep(0.25)
