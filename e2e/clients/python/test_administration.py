"""Roles, settings and whole backups of a vault, with the Azure SDK for Python."""

import unittest
import uuid

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.administration import (
    KeyVaultAccessControlClient,
    KeyVaultBackupClient,
    KeyVaultDataAction,
    KeyVaultPermission,
    KeyVaultRoleScope,
    KeyVaultSettingsClient,
)
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm

from client import CREDENTIALS, client, env

CREDENTIAL = CREDENTIALS["environment"]()
URL = env["VAULT_URL"]
EVERYTHING = KeyVaultRoleScope.GLOBAL


class Roles(unittest.TestCase):
    access = KeyVaultAccessControlClient(URL, CREDENTIAL)
    keys = KeyClient(URL, CREDENTIAL)

    def define(self, name, role, *actions, **more):
        return self.access.set_role_definition(
            EVERYTHING, name=name, role_name=role, description="Made by a test.", permissions=[KeyVaultPermission(data_actions=list(actions))], **more
        )

    def test_definitions(self):
        name = str(uuid.uuid4())
        made = self.define(name, "python-" + name, KeyVaultDataAction.BACKUP_HSM_KEYS)
        self.assertEqual([made.name, made.role_type, made.assignable_scopes], [name, "CustomRole", ["/"]])
        self.assertEqual(made.permissions[0].data_actions, [KeyVaultDataAction.BACKUP_HSM_KEYS])
        changed = self.define(name, "python-" + name, KeyVaultDataAction.CREATE_HSM_KEY)
        self.assertEqual([changed.id, changed.permissions[0].data_actions], [made.id, [KeyVaultDataAction.CREATE_HSM_KEY]])
        self.assertEqual(self.access.get_role_definition(EVERYTHING, name).permissions[0].data_actions, [KeyVaultDataAction.CREATE_HSM_KEY])
        listed = {r.id: r.role_type for r in self.access.list_role_definitions(EVERYTHING)}
        self.assertEqual(listed[made.id], "CustomRole")
        self.assertGreater(sum(kind == "AKVBuiltInRole" for kind in listed.values()), 9)
        self.access.delete_role_definition(EVERYTHING, name)
        with self.assertRaises(ResourceNotFoundError):
            self.access.get_role_definition(EVERYTHING, name)

    def signs(self, key):
        """signs reports whether an application without any other right signs with a key."""
        stranger = ClientSecretCredential(env["AZURE_TENANT_ID"], env["STRANGER_ID"], env["STRANGER_SECRET"])
        try:
            CryptographyClient(key.id, stranger).sign(SignatureAlgorithm.es256, bytes(32))
        except HttpResponseError as err:
            self.assertEqual(err.status_code, 403, err.message)
            return False
        return True

    def test_assignments(self):
        """A role in the names of a managed HSM counts at once, in the vault or on one key, and no more once it is withdrawn."""
        key = self.keys.create_ec_key("python-admin")
        name, role = str(uuid.uuid4()), str(uuid.uuid4())
        definition = self.define(role, "python-" + role, KeyVaultDataAction.SIGN_HSM_KEY)
        self.assertFalse(self.signs(key))
        for scope in [EVERYTHING, "/keys/python-admin"]:
            made = self.access.create_role_assignment(scope, definition.id, env["STRANGER_OBJECT"], name=name)
            self.assertEqual([made.name, made.properties.scope, made.properties.principal_id], [name, scope, env["STRANGER_OBJECT"]])
            self.assertEqual(made.properties.role_definition_id, definition.id)
            self.assertEqual(self.access.get_role_assignment(scope, name).role_assignment_id, made.role_assignment_id)
            self.assertIn(made.role_assignment_id, [a.role_assignment_id for a in self.access.list_role_assignments(EVERYTHING)])
            self.assertTrue(self.signs(key))
            with self.assertRaises(ResourceExistsError):
                self.access.delete_role_definition(EVERYTHING, role)
            self.access.delete_role_assignment(scope, name)
            self.assertNotIn(made.role_assignment_id, [a.role_assignment_id for a in self.access.list_role_assignments(EVERYTHING)])
            self.assertFalse(self.signs(key))
        self.access.delete_role_definition(EVERYTHING, role)


class Settings(unittest.TestCase):
    def test_settings(self):
        settings = KeyVaultSettingsClient(URL, CREDENTIAL)
        (only,) = settings.list_settings()
        self.assertEqual([only.name, only.type], ["AllowKeyManagementOperationsThroughARM", "boolean"])
        for value in ["false", "true"]:
            self.assertEqual(settings.update_setting(only.name, value).value, value)
            self.assertEqual(settings.get_setting(only.name).value, value)
        with self.assertRaises(HttpResponseError):
            settings.update_setting("invalid name", "true")


class Backup(unittest.TestCase):
    def test_backup_and_restore(self):
        backups, keys, secrets = KeyVaultBackupClient(URL, CREDENTIAL), KeyClient(URL, CREDENTIAL), client(CREDENTIAL)
        key = keys.create_ec_key("python-kept")
        secrets.set_secret("python-kept", "correct horse")
        begun = backups.begin_backup(env["STORAGE_URL"], env["SIGNATURE"])
        # A client that was started anew goes on where the one before it was.
        again = backups.begin_backup(env["STORAGE_URL"], env["SIGNATURE"], continuation_token=begun.continuation_token())
        folder = begun.result().folder_url
        self.assertEqual(again.result().folder_url, folder)
        self.assertTrue(folder.startswith(env["STORAGE_URL"] + "/"))

        keys.begin_delete_key("python-kept").wait()
        keys.purge_deleted_key("python-kept")
        backups.begin_restore(folder, env["SIGNATURE"], key_name="python-kept").wait()
        self.assertEqual(keys.get_key("python-kept").id, key.id)

        secrets.begin_delete_secret("python-kept").wait()
        secrets.purge_deleted_secret("python-kept")
        backups.begin_restore(folder, env["SIGNATURE"]).wait()
        self.assertEqual(secrets.get_secret("python-kept").value, "correct horse")
        with self.assertRaises(HttpResponseError):
            backups.begin_backup(env["STORAGE_URL"], "sig=wrong").result()


if __name__ == "__main__":
    unittest.main()
