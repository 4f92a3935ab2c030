"""signin.py read|write CREDENTIAL... signs in by each credential.

A writer sets a secret and reads it back; a reader reads it and is refused when it tries to set it.
"""

import sys

from azure.core.exceptions import HttpResponseError

from client import CREDENTIALS, client

what, names = sys.argv[1], sys.argv[2:]
for name in names:
    secrets = client(CREDENTIALS[name]())
    if what == "write":
        secrets.set_secret("greeting", "hello from " + name)
        assert secrets.get_secret("greeting").value == "hello from " + name
    else:
        assert secrets.get_secret("greeting").value.startswith("hello")
        try:
            secrets.set_secret("greeting", "x")
        except HttpResponseError as refusal:
            assert refusal.status_code == 403 and refusal.error.code == "Forbidden", refusal
        else:
            raise AssertionError("a managed identity that may only read has set a secret")
    print(f"{what}: {name} ok")
