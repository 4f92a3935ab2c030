"""Every operation on secrets, with the Azure SDK for Python."""

import base64
import datetime
import json
import unittest
from contextlib import contextmanager

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import ClientSecretCredential

from client import CREDENTIALS, client, env

UTC = datetime.timezone.utc
VALUES = {
    "plain": "correct horse battery staple",
    "empty": "",
    "unicode": "grüße, 世界 \U0001f511 e\u0301",
    "controls": "\x00\x01\x1f\x7f\t\r\n\u2028\u2029",
    "quotes": "\"\\/'`<&>",
    "structured": json.dumps({"user": "app", "port": 5432, "nested": {"x": None}}),
    "binary": base64.b64encode(bytes([0, 255, 128, 10, 13])).decode(),
    "largest": "0123456789abcdef" * 1600,
    "wide": "é" * 12800,
}


def facts(secret):
    """All that a secret says, for comparing two answers."""
    p = secret.properties
    return (
        secret.id, secret.value, p.content_type, p.tags, p.enabled, p.not_before, p.expires_on, p.created_on, p.updated_on,
        p.recovery_level, p.recoverable_days,
    )


class Secrets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.secrets = client(CREDENTIALS["environment"]())

    @contextmanager
    def refused(self, status, code, inner=None, kind=HttpResponseError):
        with self.assertRaises(kind) as caught:
            yield
        error = caught.exception
        body = json.loads(error.response.text())["error"]
        self.assertEqual((error.status_code, error.error.code, body.get("innererror", {}).get("code")), (status, code, inner), error)

    def test_values_come_back_as_they_were_stored(self):
        for name, value in VALUES.items():
            with self.subTest(name):
                stored = self.secrets.set_secret("py-value-" + name, value, content_type="text/plain")
                for version in (None, stored.properties.version):
                    self.assertEqual(facts(self.secrets.get_secret(stored.name, version)), facts(stored))
                self.assertEqual(stored.value, value)
        with self.refused(400, "BadParameter"):
            self.secrets.set_secret("py-value-too-large", "x" * 25601)

    def test_attributes_and_tags(self):
        begin, end = datetime.datetime.fromtimestamp(1700000000, UTC), datetime.datetime.fromtimestamp(1800000000, UTC)
        first = self.secrets.set_secret(
            "py-attributes", "v", content_type="application/json", tags={"owner": "shop", "größe": ""}, not_before=begin, expires_on=end
        )
        got = self.secrets.get_secret("py-attributes")
        self.assertEqual(facts(got), facts(first))
        p = got.properties
        self.assertEqual((p.not_before, p.expires_on, p.enabled, p.tags), (begin, end, True, {"owner": "shop", "größe": ""}))
        self.assertEqual((p.recovery_level, p.recoverable_days), ("Recoverable+Purgeable", 90))
        self.assertEqual(p.created_on, p.updated_on)
        self.assertLess(abs(datetime.datetime.now(UTC) - p.created_on), datetime.timedelta(minutes=1))

        changed = self.secrets.update_secret_properties("py-attributes", p.version, tags={"team": "two"})
        self.assertEqual((changed.tags, changed.content_type, changed.expires_on), ({"team": "two"}, "application/json", end))

        second = self.secrets.set_secret("py-attributes", "w", enabled=False)
        q = second.properties
        self.assertEqual((q.content_type, q.expires_on, q.enabled, q.tags or {}), (None, None, False, {}))
        with self.refused(403, "Forbidden", "SecretDisabled"):
            self.secrets.get_secret("py-attributes")
        self.assertEqual(self.secrets.get_secret("py-attributes", p.version).value, "v")
        # Without a version an update is one of the latest.
        self.secrets.update_secret_properties("py-attributes", enabled=True)
        self.assertEqual(self.secrets.get_secret("py-attributes").id, second.id)
        self.secrets.set_secret("py-expired", "v", expires_on=datetime.datetime.now(UTC) - datetime.timedelta(hours=1))
        self.assertEqual(self.secrets.get_secret("py-expired").value, "v")

    def test_thirty_versions(self):
        want = {}
        for i in range(30):
            stored = self.secrets.set_secret("py-versions", f"value {i}")
            want[stored.properties.version] = stored.value
        found = list(self.secrets.list_properties_of_secret_versions("py-versions"))
        self.assertEqual(sorted(p.version for p in found), sorted(want))
        for version, value in want.items():
            self.assertEqual(self.secrets.get_secret("py-versions", version).value, value)
        self.assertEqual(self.secrets.get_secret("py-versions").properties.version, stored.properties.version)

    def test_sixty_secrets_in_a_list(self):
        names = [f"py-list-{i:02}" for i in range(60)]
        for i, name in enumerate(names):
            self.secrets.set_secret(name, "v", enabled=i % 10 != 0)
        pages = list(self.secrets.list_properties_of_secrets(max_page_size=25).by_page())
        self.assertGreaterEqual(len(pages), 3)
        found = [p for p in self.secrets.list_properties_of_secrets() if p.name.startswith("py-list-")]
        self.assertEqual([p.name for p in found], names)
        self.assertEqual([p.name for p in found if not p.enabled], [n for n in names if n.endswith("0")])
        self.assertTrue(all(p.version is None for p in found))

    def test_delete_look_recover(self):
        first = self.secrets.set_secret("py-deleted", "one", tags={"k": "v"})
        second = self.secrets.set_secret("py-deleted", "two")
        deleted = self.secrets.begin_delete_secret("py-deleted").result()
        self.assertTrue(deleted.recovery_id.endswith("/deletedsecrets/py-deleted"))
        self.assertEqual(deleted.scheduled_purge_date - deleted.deleted_date, datetime.timedelta(days=90))
        looked = self.secrets.get_deleted_secret("py-deleted")
        self.assertEqual(
            (looked.id, looked.deleted_date, looked.scheduled_purge_date), (deleted.id, deleted.deleted_date, deleted.scheduled_purge_date)
        )
        self.assertIn("py-deleted", [d.name for d in self.secrets.list_deleted_secrets()])
        with self.refused(404, "SecretNotFound", kind=ResourceNotFoundError):
            self.secrets.get_secret("py-deleted")
        with self.refused(409, "Conflict", "ObjectIsDeletedButRecoverable", kind=ResourceExistsError):
            self.secrets.set_secret("py-deleted", "x")
        poller = self.secrets.begin_recover_deleted_secret("py-deleted")
        poller.wait()
        self.assertEqual(poller.result().version, second.properties.version)
        self.assertEqual(facts(self.secrets.get_secret("py-deleted")), facts(second))
        self.assertEqual(facts(self.secrets.get_secret("py-deleted", first.properties.version)), facts(first))

    def test_purge(self):
        self.secrets.set_secret("py-purged", "v")
        self.secrets.begin_delete_secret("py-purged").wait()
        self.secrets.purge_deleted_secret("py-purged")
        with self.refused(404, "SecretNotFound"):
            self.secrets.get_deleted_secret("py-purged")
        self.secrets.set_secret("py-purged", "the name is free again")

    def test_backup_and_restore(self):
        kept = [self.secrets.set_secret("py-backup", value, tags={"value": value}) for value in ("one", "two")]
        blob = self.secrets.backup_secret("py-backup")
        with self.refused(409, "Conflict", "ObjectAlreadyExists"):
            self.secrets.restore_secret_backup(blob)
        self.secrets.begin_delete_secret("py-backup").wait()
        self.secrets.purge_deleted_secret("py-backup")
        self.assertEqual(self.secrets.restore_secret_backup(blob).id, kept[1].id)
        for old in kept:
            self.assertEqual(facts(self.secrets.get_secret("py-backup", old.properties.version)), facts(old))
        with self.refused(400, "BadParameter"):
            self.secrets.restore_secret_backup(b"not a backup")

    def test_errors(self):
        with self.refused(404, "SecretNotFound", kind=ResourceNotFoundError):
            self.secrets.get_secret("nothing-here")
        with self.refused(404, "SecretNotFound", kind=ResourceNotFoundError):
            self.secrets.begin_delete_secret("nothing-here")
        with self.refused(400, "BadParameter"):
            self.secrets.set_secret("under_score", "x")
        stranger = client(ClientSecretCredential(env["AZURE_TENANT_ID"], env["STRANGER_ID"], env["STRANGER_SECRET"]))
        with self.refused(403, "Forbidden", "ForbiddenByRbac"):
            stranger.get_secret("nothing-here")
        wrong = client(ClientSecretCredential(env["AZURE_TENANT_ID"], env["STRANGER_ID"], "not the secret"))
        with self.assertRaisesRegex(ClientAuthenticationError, "AADSTS7000215"):
            wrong.get_secret("nothing-here")


if __name__ == "__main__":
    unittest.main()
