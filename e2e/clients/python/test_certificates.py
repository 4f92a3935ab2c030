"""Every operation on certificates, with the Azure SDK for Python."""

import base64
import datetime
import unittest

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.certificates import (
    AdministratorContact,
    CertificateContact,
    CertificatePolicy,
    CertificatePolicyAction,
    LifetimeAction,
    WellKnownIssuerNames,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from client import CREDENTIALS, certificate_client, client

UTC = datetime.timezone.utc


def policy(issuer=WellKnownIssuerNames.self, **more):
    return CertificatePolicy(
        issuer_name=issuer,
        subject="CN=python.example",
        san_dns_names=["python.example", "www.python.example"],
        validity_in_months=6,
        **more,
    )


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Certificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        credential = CREDENTIALS["environment"]()
        cls.certificates = certificate_client(credential)
        cls.secrets = client(credential)

    def test_self_signed(self):
        actions = [LifetimeAction(CertificatePolicyAction.auto_renew, days_before_expiry=30)]
        made = self.certificates.begin_create_certificate(
            "py-self", policy(lifetime_actions=actions, content_type="application/x-pem-file"), tags={"a": "b"}
        ).result()
        parsed = x509.load_der_x509_certificate(bytes(made.cer))
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        self.assertEqual(sorted(names), ["python.example", "www.python.example"])
        self.assertEqual(parsed.fingerprint(hashes.SHA1()), bytes(made.properties.x509_thumbprint))
        pem = self.secrets.get_secret("py-self").value.encode()
        private = serialization.load_pem_private_key(pem, None)
        self.assertEqual(private.public_key().public_numbers(), parsed.public_key().public_numbers())
        again = self.certificates.begin_create_certificate("py-self", self.certificates.get_certificate_policy("py-self")).result()
        self.assertEqual(
            {p.version for p in self.certificates.list_properties_of_certificate_versions("py-self")},
            {made.properties.version, again.properties.version},
        )
        self.assertIn("py-self", [p.name for p in self.certificates.list_properties_of_certificates()])
        updated = self.certificates.update_certificate_properties("py-self", made.properties.version, enabled=False, tags={"c": "d"})
        self.assertEqual((updated.properties.enabled, updated.properties.tags), (False, {"c": "d"}))
        old = self.certificates.get_certificate_version("py-self", made.properties.version)
        self.assertFalse(old.properties.enabled)
        changed = self.certificates.update_certificate_policy("py-self", policy(lifetime_actions=actions, key_size=4096))
        self.assertEqual(changed.key_size, 4096)

    def test_request_and_merge(self):
        self.certificates.begin_create_certificate("py-merge", policy(WellKnownIssuerNames.unknown))
        pending = self.certificates.get_certificate_operation("py-merge")
        self.assertEqual(pending.status, "inProgress")
        request = x509.load_der_x509_csr(bytes(pending.csr))
        self.assertTrue(request.is_signature_valid)
        authority = rsa.generate_private_key(65537, 2048)
        now = datetime.datetime.now(UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(name("an authority elsewhere"))
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=90))
            .sign(authority, hashes.SHA256())
        )
        merged = self.certificates.merge_certificate("py-merge", [signed.public_bytes(serialization.Encoding.DER)])
        self.assertEqual(bytes(merged.cer), signed.public_bytes(serialization.Encoding.DER))

    def test_operation_is_cancelled_and_deleted(self):
        self.certificates.begin_create_certificate("py-cancel", policy(WellKnownIssuerNames.unknown))
        self.assertTrue(self.certificates.cancel_certificate_operation("py-cancel").cancellation_requested)
        self.certificates.delete_certificate_operation("py-cancel")
        with self.assertRaises(ResourceNotFoundError):
            self.certificates.get_certificate_operation("py-cancel")

    def test_import(self):
        private = rsa.generate_private_key(65537, 2048)
        now = datetime.datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name("imported.example"))
            .issuer_name(name("imported.example"))
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=90))
            .sign(private, hashes.SHA256())
        )
        pfx = pkcs12.serialize_key_and_certificates(b"n", private, certificate, None, serialization.BestAvailableEncryption(b"open"))
        imported = self.certificates.import_certificate("py-pfx", pfx, password="open")
        self.assertEqual(bytes(imported.cer), certificate.public_bytes(serialization.Encoding.DER))
        stored = self.secrets.get_secret("py-pfx")
        self.assertEqual(stored.properties.content_type, "application/x-pkcs12")
        key, _, _ = pkcs12.load_key_and_certificates(base64.b64decode(stored.value), None)
        self.assertEqual(key.private_numbers(), private.private_numbers())
        with self.assertRaises(HttpResponseError) as refused:
            self.certificates.import_certificate("py-pfx", pfx, password="shut")
        self.assertEqual(refused.exception.status_code, 400)

    def test_deletion_backup_and_restore(self):
        made = self.certificates.begin_create_certificate("py-cert-gone", policy()).result()
        backup = self.certificates.backup_certificate("py-cert-gone")
        self.certificates.begin_delete_certificate("py-cert-gone").result()
        self.assertIn("py-cert-gone", [c.name for c in self.certificates.list_deleted_certificates()])
        self.assertEqual(self.certificates.begin_recover_deleted_certificate("py-cert-gone").result().id, made.id)
        self.certificates.begin_delete_certificate("py-cert-gone").result()
        self.certificates.purge_deleted_certificate("py-cert-gone")
        with self.assertRaises(ResourceNotFoundError):
            self.certificates.get_deleted_certificate("py-cert-gone")
        self.assertEqual(self.certificates.restore_certificate_backup(backup).id, made.id)

    def test_contacts(self):
        contact = CertificateContact(email="team@python.example", name="team", phone="1")
        self.certificates.set_contacts([contact])
        self.assertEqual([c.email for c in self.certificates.get_contacts()], ["team@python.example"])
        self.certificates.delete_contacts()
        with self.assertRaises(ResourceNotFoundError):
            self.certificates.get_contacts()

    def test_issuers(self):
        admin = AdministratorContact(first_name="a", last_name="b", email="a@python.example", phone="1")
        issuer = self.certificates.create_issuer("py-issuer", "Test", account_id="account", password="word", admin_contacts=[admin])
        self.assertEqual((issuer.provider, issuer.account_id, issuer.admin_contacts[0].email), ("Test", "account", "a@python.example"))
        self.assertIn("py-issuer", [i.name for i in self.certificates.list_properties_of_issuers()])
        self.assertFalse(self.certificates.update_issuer("py-issuer", enabled=False).enabled)
        self.certificates.delete_issuer("py-issuer")
        with self.assertRaises(ResourceNotFoundError):
            self.certificates.get_issuer("py-issuer")
