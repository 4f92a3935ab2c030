"""Asks the database all the time, from WORKERS at once, and prints each change of its credential. At SIGTERM it prints what it did."""

import os
import signal
import sys
import threading
import time

from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

from pool import ChangingCredential, ChangingPool

client = SecretClient(os.environ["AZURE_KEYVAULT_URL"], DefaultAzureCredential())
credential = ChangingCredential(
    client,
    os.environ.get("DB_SECRET", "db-credential"),
    poll_seconds=float(os.environ.get("POLL_SECONDS", "60")),
    on_change=lambda version: print("signed in with", version, flush=True),
)
pool = ChangingPool(
    credential,
    max_age=1,
    host=os.environ["DB_HOST"],
    port=os.environ.get("DB_PORT", "5432"),
    dbname=os.environ.get("DB_NAME", "postgres"),
)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
counts = []


def work():
    queries = failed = 0
    while not stop.is_set():
        try:
            with pool.connection() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Exception as error:
            failed += 1
            print("a query failed:", error, file=sys.stderr)
            time.sleep(0.05)
        queries += 1
        time.sleep(0.002)
    counts.append((queries, failed))


workers = [threading.Thread(target=work) for _ in range(int(os.environ.get("WORKERS", "16")))]
for worker in workers:
    worker.start()
for worker in workers:
    while worker.is_alive():
        worker.join(0.1)  # so that the signal is heard
credential.close()
pool.close()
print("%d queries, %d failed" % (sum(q for q, _ in counts), sum(f for _, f in counts)))
