"""Every operation on keys, with the Azure SDK for Python."""

import datetime
import hashlib
import unittest

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.keys import (
    JsonWebKey,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)
from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from client import CREDENTIALS, cryptography_client, key_client

UTC = datetime.timezone.utc
MESSAGE = b"what is signed, wrapped and encrypted"
RSA_SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "P-256K": "ES256K"}


def digest(algorithm):
    """The hash that goes with a signature's algorithm."""
    return hashlib.new("sha" + algorithm[2:5], MESSAGE).digest()


def hash_of(algorithm):
    return {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[2:5]]


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.credential = CREDENTIALS["environment"]()
        cls.keys = key_client(cls.credential)

    def crypto(self, key):
        # A client that knows the key's id alone asks the server for everything.
        return cryptography_client(key.id, self.credential)

    def test_life_of_a_key(self):
        expires = datetime.datetime.now(UTC).replace(microsecond=0) + datetime.timedelta(days=100)
        first = self.keys.create_rsa_key("py-life", size=2048, expires_on=expires, tags={"a": "b"}, key_operations=["sign", "verify"])
        self.assertEqual((first.properties.expires_on, first.properties.tags, first.key_type), (expires, {"a": "b"}, "RSA"))
        self.assertIsNone(first.key.d)
        second = self.keys.rotate_key("py-life")
        self.assertEqual(
            {p.version for p in self.keys.list_properties_of_key_versions("py-life")},
            {first.properties.version, second.properties.version},
        )
        changed = self.keys.update_key_properties("py-life", second.properties.version, enabled=False, tags={})
        self.assertFalse(changed.properties.enabled)
        with self.assertRaises(HttpResponseError) as refused:
            self.crypto(changed).sign(SignatureAlgorithm.rs256, digest("RS256"))
        self.assertEqual(refused.exception.status_code, 403)
        self.assertIn("py-life", [p.name for p in self.keys.list_properties_of_keys()])

    def test_deletion_backup_and_restore(self):
        key = self.keys.create_ec_key("py-gone", curve="P-256")
        backup = self.keys.backup_key("py-gone")
        deleted = self.keys.begin_delete_key("py-gone").result()
        self.assertIsNotNone(deleted.scheduled_purge_date)
        self.assertIn("py-gone", [k.name for k in self.keys.list_deleted_keys()])
        self.assertEqual(self.keys.begin_recover_deleted_key("py-gone").result().id, key.id)
        self.keys.begin_delete_key("py-gone").result()
        self.keys.purge_deleted_key("py-gone")
        with self.assertRaises(ResourceNotFoundError):
            self.keys.get_deleted_key("py-gone")
        self.assertEqual(self.keys.restore_key_backup(backup).id, key.id)

    def test_rotation_policy(self):
        self.keys.create_rsa_key("py-policy")
        action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P30D")
        self.keys.update_key_rotation_policy("py-policy", KeyRotationPolicy(lifetime_actions=[action], expires_in="P90D"))
        policy = self.keys.get_key_rotation_policy("py-policy")
        self.assertEqual(policy.expires_in, "P90D")
        self.assertIn("P30D", [a.time_after_create for a in policy.lifetime_actions])

    def test_rsa_signatures(self):
        key = self.keys.create_rsa_key("py-rsa-sign", size=2048)
        public = rsa.RSAPublicNumbers(int.from_bytes(key.key.e, "big"), int.from_bytes(key.key.n, "big")).public_key()
        client = self.crypto(key)
        for algorithm in RSA_SIGNATURES:
            with self.subTest(algorithm):
                signature = client.sign(SignatureAlgorithm(algorithm), digest(algorithm)).signature
                self.assertTrue(client.verify(SignatureAlgorithm(algorithm), digest(algorithm), signature).is_valid)
                h = hash_of(algorithm)
                pad = padding.PKCS1v15() if algorithm[0] == "R" else padding.PSS(padding.MGF1(h), h.digest_size)
                public.verify(signature, MESSAGE, pad, h)
                other = hashlib.new("sha" + algorithm[2:5], b"something else").digest()
                self.assertFalse(client.verify(SignatureAlgorithm(algorithm), other, signature).is_valid)

    def test_elliptic_signatures(self):
        for curve, algorithm in CURVES.items():
            with self.subTest(curve):
                key = self.keys.create_ec_key("py-ec-" + curve, curve=curve)
                client = self.crypto(key)
                signature = client.sign(SignatureAlgorithm(algorithm), digest(algorithm)).signature
                self.assertTrue(client.verify(SignatureAlgorithm(algorithm), digest(algorithm), signature).is_valid)
                half = len(signature) // 2
                der = utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
                kind = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "P-256K": ec.SECP256K1()}[curve]
                numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(key.key.x, "big"), int.from_bytes(key.key.y, "big"), kind)
                numbers.public_key().verify(der, MESSAGE, ec.ECDSA(hash_of(algorithm)))

    def test_rsa_encryption(self):
        key = self.keys.create_rsa_key("py-rsa-encrypt", size=2048)
        local, remote = cryptography_client(key, self.credential), self.crypto(key)
        for algorithm in ("RSA1_5", "RSA-OAEP", "RSA-OAEP-256"):
            with self.subTest(algorithm):
                for sender in (local, remote):
                    sealed = sender.encrypt(EncryptionAlgorithm(algorithm), MESSAGE).ciphertext
                    self.assertEqual(remote.decrypt(EncryptionAlgorithm(algorithm), sealed).plaintext, MESSAGE)
                wrapped = local.wrap_key(KeyWrapAlgorithm(algorithm), b"k" * 32).encrypted_key
                self.assertEqual(remote.unwrap_key(KeyWrapAlgorithm(algorithm), wrapped).key, b"k" * 32)

    def test_symmetric_encryption(self):
        key = self.keys.create_oct_key("py-oct", size=256, hardware_protected=True)
        client = self.crypto(key)
        sealed = client.encrypt(EncryptionAlgorithm.a256_gcm, MESSAGE, additional_authenticated_data=b"beside")
        opened = client.decrypt(
            EncryptionAlgorithm.a256_gcm,
            sealed.ciphertext,
            iv=sealed.iv,
            authentication_tag=sealed.tag,
            additional_authenticated_data=b"beside",
        )
        self.assertEqual(opened.plaintext, MESSAGE)
        vector = bytes(range(16))
        sealed = client.encrypt(EncryptionAlgorithm.a256_cbcpad, MESSAGE, iv=vector).ciphertext
        self.assertEqual(client.decrypt(EncryptionAlgorithm.a256_cbcpad, sealed, iv=vector).plaintext, MESSAGE)
        wrapped = client.wrap_key(KeyWrapAlgorithm.aes_256, b"k" * 32).encrypted_key
        self.assertEqual(client.unwrap_key(KeyWrapAlgorithm.aes_256, wrapped).key, b"k" * 32)

    def test_import(self):
        private = rsa.generate_private_key(65537, 2048)
        n = private.private_numbers()

        def octets(i):
            return i.to_bytes((i.bit_length() + 7) // 8, "big")

        jwk = JsonWebKey(
            kty="RSA",
            key_ops=["sign", "verify"],
            n=octets(n.public_numbers.n),
            e=octets(n.public_numbers.e),
            d=octets(n.d),
            p=octets(n.p),
            q=octets(n.q),
            dp=octets(n.dmp1),
            dq=octets(n.dmq1),
            qi=octets(n.iqmp),
        )
        key = self.keys.import_key("py-import", jwk)
        signature = self.crypto(key).sign(SignatureAlgorithm.rs256, digest("RS256")).signature
        private.public_key().verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())

    def test_random_bytes(self):
        self.assertEqual(len(self.keys.get_random_bytes(32)), 32)
        self.assertNotEqual(self.keys.get_random_bytes(32), self.keys.get_random_bytes(32))

