// What the programs of this directory share: credentials by name, and the client that they use.
import { readFileSync } from "node:fs";
import {
  ClientCertificateCredential,
  ClientSecretCredential,
  DefaultAzureCredential,
  EnvironmentCredential,
  ManagedIdentityCredential,
  WorkloadIdentityCredential,
} from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

const env = process.env;

export const credentials = {
  secret: () => new ClientSecretCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, env.AZURE_CLIENT_SECRET),
  certificate: () => new ClientCertificateCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, env.AZURE_CLIENT_CERTIFICATE_PATH),
  certificateText: () =>
    new ClientCertificateCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, {
      certificate: readFileSync(env.AZURE_CLIENT_CERTIFICATE_PATH, "utf8"),
    }),
  workload: () => new WorkloadIdentityCredential(),
  managed: () => new ManagedIdentityCredential(),
  // The tenant by its id, at an authority that the library does not know. Challenges there may name the tenant "adfs".
  tenantId: () =>
    new ClientSecretCredential(env.KEYWRIGHT_TENANT_ID, env.AZURE_CLIENT_ID, env.AZURE_CLIENT_SECRET, {
      disableInstanceDiscovery: true,
      additionallyAllowedTenants: ["*"],
    }),
  environment: () => new EnvironmentCredential(),
  default: () => new DefaultAzureCredential(),
};

export const client = (credential, options) => new SecretClient(env.VAULT_URL, credential, options);
