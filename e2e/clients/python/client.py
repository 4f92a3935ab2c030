"""What the programs of this directory share: credentials by name, and the client that they use."""

import os

from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    EnvironmentCredential,
    ManagedIdentityCredential,
)
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient
from azure.keyvault.secrets import SecretClient

env = os.environ

CREDENTIALS = {
    "secret": lambda: ClientSecretCredential(env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"]),
    "certificate": lambda: CertificateCredential(
        env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_CERTIFICATE_PATH"]
    ),
    # In Debian's version this is the credential of workload identities, too: the environment decides.
    "managed": ManagedIdentityCredential,
    "environment": EnvironmentCredential,
    # The tenant by its id, at an authority that the library does not know. Challenges there may name the tenant "adfs".
    "tenant-id": lambda: ClientSecretCredential(
        env["KEYWRIGHT_TENANT_ID"],
        env["AZURE_CLIENT_ID"],
        env["AZURE_CLIENT_SECRET"],
        disable_instance_discovery=True,
        additionally_allowed_tenants=["*"],
    ),
    "default": DefaultAzureCredential,
}


def client(credential):
    return SecretClient(env["VAULT_URL"], credential)


def key_client(credential):
    return KeyClient(env["VAULT_URL"], credential)


def cryptography_client(key, credential):
    return CryptographyClient(key, credential)


def certificate_client(credential):
    return CertificateClient(env["VAULT_URL"], credential)
