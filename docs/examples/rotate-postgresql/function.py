"""Rotates the password of a PostgreSQL role when its secret is near its expiry, as a function for Azure's Event Grid does.

Nothing in it knows of Keywright: it takes the event, stores a new version of the secret, and then updates the database. The value of
the secret is JSON with a username and a password; what else is in it stays.

    AZURE_KEYVAULT_URL   the vault
    DATABASE_ADMIN       a connection string of an administrator, who may change the role
    PORT                 where to listen on 127.0.0.1; 7071 when absent
"""

import http.server
import json
import os
import secrets
import string
from datetime import datetime, timedelta, timezone

import psycopg2
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from psycopg2 import extensions, sql

VALIDITY = timedelta(days=60)

client = SecretClient(os.environ["AZURE_KEYVAULT_URL"], DefaultAzureCredential())


def new_password():
    return secrets.choice(string.ascii_letters) + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(31))


def set_password(role, password):
    database = psycopg2.connect(os.environ["DATABASE_ADMIN"])
    try:
        with database, database.cursor() as cursor:
            # A verifier instead of the password: statements end up in logs.
            verifier = extensions.encrypt_password(password, role, database, "scram-sha-256")
            cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))
    finally:
        database.close()


def rotate(name, version):
    secret = client.get_secret(name)
    if secret.properties.version != version:
        print("skipped", name, "which has a newer version already", flush=True)
        return  # events are delivered at least once
    login = json.loads(secret.value)
    login["password"] = new_password()
    stored = client.set_secret(name, json.dumps(login), content_type=secret.properties.content_type, tags=secret.properties.tags,
                               expires_on=datetime.now(timezone.utc) + VALIDITY)
    print("stored", name, stored.properties.version, flush=True)
    set_password(login["username"], login["password"])
    print("updated", name, stored.properties.version, flush=True)


class Function(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        try:
            events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = 200, {}
            for event in events:
                if event["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent":
                    answer = {"validationResponse": event["data"]["validationCode"]}
                elif event["eventType"] == "Microsoft.KeyVault.SecretNearExpiry":
                    rotate(event["data"]["ObjectName"], event["data"]["Version"])
        except Exception as error:
            # Not 200: the event comes again.
            print("failed:", type(error).__name__, flush=True)
            status, answer = 500, {}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "7071"))), Function)
print("listening on", server.server_port, flush=True)
server.serve_forever()
