// Every operation on certificates, with the Azure SDK for JavaScript.
import assert from "node:assert/strict";
import { X509Certificate, createHash, createPrivateKey, createPublicKey } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { test } from "node:test";
import { CertificateClient, DefaultCertificatePolicy } from "@azure/keyvault-certificates";
import { KeyClient } from "@azure/keyvault-keys";
import { SecretClient } from "@azure/keyvault-secrets";
import { credentials } from "./client.js";

const credential = credentials.environment();
const certificates = new CertificateClient(process.env.VAULT_URL, credential);
const secrets = new SecretClient(process.env.VAULT_URL, credential);
const keys = new KeyClient(process.env.VAULT_URL, credential);
const soon = { intervalInMs: 20 };

const policy = (issuerName, more) => ({ issuerName, subject: "CN=shop.example", subjectAlternativeNames: { dnsNames: ["shop.example", "www.shop.example"] }, ...more });
const made = async (name, by = policy("Self"), options = {}) => (await certificates.beginCreateCertificate(name, by, { ...soon, ...options })).pollUntilDone();

/** operation is the making of a certificate; the poller that creates one does not show it. */
const operation = async (name) => (await certificates.getCertificateOperation(name, soon)).getOperationState().certificateOperation;

/** refused matches an answer by its status and both of its codes. */
const refused = (statusCode, code, inner) => (err) => {
  assert.equal(err.statusCode, statusCode, err.message);
  assert.equal(err.code, code, err.message);
  assert.equal(err.details.error.innerError?.code, inner, err.message);
  return true;
};

const collect = async (pages) => {
  const found = [];
  for await (const item of pages) found.push(item);
  return found;
};

const gone = async (name) => {
  await (await certificates.beginDeleteCertificate(name, soon)).pollUntilDone();
  await certificates.purgeDeletedCertificate(name);
};

/** inDirectory runs something in a directory of its own, which is removed afterwards. */
const inDirectory = (run) => {
  const dir = mkdtempSync(join(tmpdir(), "certificates-"));
  try {
    return run(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
};
const openssl = (dir, ...args) => execFileSync("openssl", args, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });

test("create", async () => {
  const c = await made("jsc-create", policy("Self", { keyType: "EC", keyCurveName: "P-384" }), { tags: { team: "web" } });
  const leaf = new X509Certificate(c.cer);
  assert.equal(leaf.checkHost("www.shop.example"), "www.shop.example");
  assert.equal(leaf.subject, "CN=shop.example");
  assert.deepEqual(Buffer.from(c.properties.x509Thumbprint), createHash("sha1").update(c.cer).digest());
  assert.deepEqual([c.properties.notBefore, c.properties.expiresOn], [new Date(leaf.validFrom), new Date(leaf.validTo)]);
  assert.deepEqual([{ ...c.properties.tags }, c.properties.enabled], [{ team: "web" }, true]);
  assert.deepEqual(await certificates.getCertificate("jsc-create"), c);
  const version = await certificates.getCertificateVersion("jsc-create", c.properties.version);
  assert.deepEqual(version.cer, c.cer);
  // The key and the secret behind it have the same version.
  const key = await keys.getKey("jsc-create");
  assert.deepEqual([key.id, key.properties.managed, key.key.crv], [c.keyId, true, "P-384"]);
  const secret = await secrets.getSecret("jsc-create");
  assert.deepEqual([secret.properties.id, secret.properties.managed, secret.properties.contentType], [c.secretId, true, "application/x-pkcs12"]);
  // What the secret holds serves TLS as it is.
  createSecureContext({ pfx: Buffer.from(secret.value, "base64"), passphrase: "" });
});

test("the SDK's default policy", async () => {
  const c = await made("jsc-default", DefaultCertificatePolicy);
  assert.equal(c.policy.issuerName, "Self");
  assert.equal(new X509Certificate(c.cer).subject, "CN=MyCert");
});

test("PEM, with and without its key", async () => {
  await made("jsc-pem", policy("Self", { contentType: "application/x-pem-file" }));
  const { value } = await secrets.getSecret("jsc-pem");
  const leaf = new X509Certificate(value);
  assert.ok(leaf.checkPrivateKey(createPrivateKey(value)));
  await made("jsc-pem-kept", policy("Self", { contentType: "application/x-pem-file", exportable: false }));
  const kept = (await secrets.getSecret("jsc-pem-kept")).value;
  assert.ok(!kept.includes("PRIVATE KEY") && kept.includes("BEGIN CERTIFICATE"));
});

test("an operation, cancelled and deleted", async () => {
  await certificates.beginCreateCertificate("jsc-operation", policy("Unknown"), soon);
  const begun = await operation("jsc-operation");
  assert.deepEqual([begun.status, begun.cancellationRequested, begun.error], ["inProgress", false, undefined]);
  await assert.rejects(certificates.beginCreateCertificate("jsc-operation", policy("Self"), soon), refused(409, "Forbidden"));
  const other = await certificates.getCertificateOperation("jsc-operation", soon);
  assert.equal(other.getOperationState().certificateOperation.requestId, begun.requestId);
  await other.cancelOperation();
  const cancelled = await operation("jsc-operation");
  assert.deepEqual([cancelled.cancellationRequested, cancelled.status], [true, "cancelled"]);
  const deleted = await certificates.deleteCertificateOperation("jsc-operation");
  assert.equal(deleted.requestId, begun.requestId);
  await assert.rejects(certificates.deleteCertificateOperation("jsc-operation"), refused(404, "PendingCertificateNotFound"));
  await made("jsc-operation");
});

test("merge what an authority signed", async () => {
  await certificates.beginCreateCertificate("jsc-merge", policy("Unknown"), soon);
  const { csr } = await operation("jsc-merge");
  const [leaf, root] = inDirectory((dir) => {
    writeFileSync(join(dir, "request.der"), csr);
    openssl(dir, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Outside", "-keyout", "ca.key", "-out", "ca.pem");
    openssl(dir, "x509", "-req", "-inform", "der", "-in", "request.der", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "30", "-outform", "der", "-out", "leaf.der");
    openssl(dir, "x509", "-in", "ca.pem", "-outform", "der", "-out", "ca.der");
    return [readFileSync(join(dir, "leaf.der")), readFileSync(join(dir, "ca.der"))];
  });
  await assert.rejects(certificates.mergeCertificate("jsc-merge", [root]), refused(400, "BadParameter"));
  const merged = await certificates.mergeCertificate("jsc-merge", [leaf, root]);
  assert.deepEqual(Buffer.from(merged.cer), leaf);
  assert.equal(new X509Certificate(merged.cer).issuer, "CN=Outside");
  const secret = await secrets.getSecret("jsc-merge");
  createSecureContext({ pfx: Buffer.from(secret.value, "base64"), passphrase: "" });
});

test("import", async () => {
  const files = inDirectory((dir) => {
    openssl(dir, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=brought.example", "-keyout", "key.pem", "-out", "cert.pem");
    openssl(dir, "pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "modern.pfx", "-passout", "pass:one");
    openssl(dir, "pkcs12", "-export", "-legacy", "-inkey", "key.pem", "-in", "cert.pem", "-out", "legacy.pfx", "-passout", "pass:two");
    return Object.fromEntries(["key.pem", "cert.pem", "modern.pfx", "legacy.pfx"].map((f) => [f, readFileSync(join(dir, f))]));
  });
  const leaf = new X509Certificate(files["cert.pem"]);
  for (const [file, password] of [["modern.pfx", "one"], ["legacy.pfx", "two"]]) {
    const c = await certificates.importCertificate("jsc-import", files[file], { password });
    assert.deepEqual(Buffer.from(c.cer), leaf.raw, file);
    assert.deepEqual([c.policy.issuerName, c.policy.keyType, c.policy.keySize], ["Unknown", "RSA", 2048], file);
  }
  await assert.rejects(certificates.importCertificate("jsc-import", files["modern.pfx"], { password: "two" }), refused(400, "BadParameter"));
  // Of the policy, this SDK sends nothing: it takes the form of the file from it.
  const pem = await certificates.importCertificate("jsc-import-pem", Buffer.concat([files["key.pem"], files["cert.pem"]]), { policy: { contentType: "application/x-pem-file" } });
  assert.deepEqual([pem.properties.enabled, pem.policy.contentType], [true, "application/x-pem-file"]);
  assert.ok(leaf.checkPrivateKey(createPrivateKey((await secrets.getSecret("jsc-import-pem")).value)));
});

test("policy", async () => {
  await made("jsc-policy", policy("Self", { lifetimeActions: [{ action: "AutoRenew", daysBeforeExpiry: 30 }] }));
  const before = await certificates.getCertificatePolicy("jsc-policy");
  assert.deepEqual([before.keyType, before.keySize, before.keyCurveName, before.validityInMonths], ["RSA", 2048, undefined, 12]);
  assert.deepEqual(before.lifetimeActions.map((a) => [a.action, a.daysBeforeExpiry]), [["AutoRenew", 30]]);
  // What the SDK returns of an update is not decoded.
  await certificates.updateCertificatePolicy("jsc-policy", { ...before, keyType: "EC", keySize: undefined, keyCurveName: "P-256", validityInMonths: 6 });
  const after = await certificates.getCertificatePolicy("jsc-policy");
  assert.deepEqual([after.keyType, after.keySize, after.validityInMonths, after.subject], ["EC", undefined, 6, "CN=shop.example"]);
  const next = await made("jsc-policy", after);
  assert.equal(createPublicKey(new X509Certificate(next.cer).publicKey.export({ type: "spki", format: "pem" })).asymmetricKeyType, "ec");
});

test("properties, versions and lists", async () => {
  const first = await made("jsc-list");
  const second = await made("jsc-list");
  const updated = await certificates.updateCertificateProperties("jsc-list", first.properties.version, { enabled: false, tags: { a: "b" } });
  assert.deepEqual([updated.properties.enabled, { ...updated.properties.tags }, updated.id], [false, { a: "b" }, first.id]);
  const versions = await collect(certificates.listPropertiesOfCertificateVersions("jsc-list"));
  assert.deepEqual(Object.fromEntries(versions.map((v) => [v.version, v.enabled])), { [first.properties.version]: false, [second.properties.version]: true });
  await certificates.beginCreateCertificate("jsc-list-pending", policy("Unknown"), soon);
  for (const includePending of [false, true]) {
    const names = (await collect(certificates.listPropertiesOfCertificates({ includePending }))).map((c) => c.name);
    assert.deepEqual([names.includes("jsc-list"), names.includes("jsc-list-pending")], [true, includePending]);
  }
});

test("delete, recover, purge", async () => {
  const c = await made("jsc-deleted");
  const deleted = await (await certificates.beginDeleteCertificate("jsc-deleted", soon)).pollUntilDone();
  assert.equal(deleted.scheduledPurgeDate - deleted.deletedOn, 90 * 24 * 3600 * 1000);
  assert.deepEqual((await certificates.getDeletedCertificate("jsc-deleted")).id, c.id);
  assert.ok((await collect(certificates.listDeletedCertificates())).some((d) => d.name === "jsc-deleted"));
  await assert.rejects(secrets.getSecret("jsc-deleted"), refused(404, "SecretNotFound"));
  await assert.rejects(made("jsc-deleted"), refused(409, "Conflict", "ObjectIsDeletedButRecoverable"));
  const recovered = await (await certificates.beginRecoverDeletedCertificate("jsc-deleted", soon)).pollUntilDone();
  assert.equal(recovered.id, c.id);
  await gone("jsc-deleted");
  await assert.rejects(certificates.getDeletedCertificate("jsc-deleted"), refused(404, "CertificateNotFound"));
});

test("backup and restore", async () => {
  const c = await made("jsc-backup");
  const { value } = await secrets.getSecret("jsc-backup");
  const blob = await certificates.backupCertificate("jsc-backup");
  await assert.rejects(certificates.restoreCertificateBackup(blob), refused(409, "Conflict", "ObjectAlreadyExists"));
  await gone("jsc-backup");
  const back = await certificates.restoreCertificateBackup(blob);
  assert.deepEqual([back.id, back.cer, back.policy.issuerName], [c.id, c.cer, "Self"]);
  assert.equal((await secrets.getSecret("jsc-backup")).value, value);
});

test("issuers", async () => {
  const administratorContacts = [{ email: "ops@shop.example", firstName: "A", lastName: "B", phone: "1" }];
  const set = await certificates.createIssuer("jsc-issuer", "DigiCert", { accountId: "account", password: "YSBwYXNzd29yZCBvZiB0aGUgYXV0aG9yaXR5", organizationId: "shop", administratorContacts });
  assert.deepEqual([set.provider, set.accountId, set.password, set.organizationId, set.enabled], ["DigiCert", "account", undefined, "shop", true]);
  assert.deepEqual(set.administratorContacts.map((c) => ({ ...c })), administratorContacts);
  const updated = await certificates.updateIssuer("jsc-issuer", { accountId: "other" });
  assert.deepEqual([updated.provider, updated.accountId, updated.enabled], ["DigiCert", "other", true]);
  assert.deepEqual(await certificates.getIssuer("jsc-issuer"), updated);
  assert.ok((await collect(certificates.listPropertiesOfIssuers())).some((i) => i.id.endsWith("/certificates/issuers/jsc-issuer") && i.provider === "DigiCert"));
  await certificates.createIssuer("jsc-issuer-off", "DigiCert", { accountId: "account", password: "YSBwYXNzd29yZCBvZiB0aGUgYXV0aG9yaXR5", enabled: false });
  await assert.rejects(made("jsc-issuer-off", policy("jsc-issuer-off")), refused(400, "BadParameter"));
  await certificates.deleteIssuer("jsc-issuer-off");
  await certificates.deleteIssuer("jsc-issuer");
  await assert.rejects(certificates.getIssuer("jsc-issuer"), refused(404, "CertificateIssuerNotFound"));
});

test("contacts", async () => {
  await assert.rejects(certificates.getContacts(), refused(404, "ContactsNotFound"));
  const contacts = [{ email: "a@shop.example", name: "A", phone: "1" }, { email: "b@shop.example" }];
  const set = await certificates.setContacts(contacts);
  assert.equal(set.length, 2);
  assert.deepEqual((await certificates.getContacts()).map((c) => c.email), contacts.map((c) => c.email));
  await certificates.deleteContacts();
  await assert.rejects(certificates.getContacts(), refused(404, "ContactsNotFound"));
});

test("refusals", async () => {
  await assert.rejects(certificates.getCertificate("jsc-nothing"), refused(404, "CertificateNotFound"));
  await assert.rejects(certificates.getCertificatePolicy("jsc-nothing"), refused(404, "CertificateNotFound"));
  await assert.rejects(made("jsc-wrong", policy("nobody")), refused(400, "BadParameter"));
  await assert.rejects(made("jsc-wrong", { issuerName: "Self", subject: "no name" }), refused(400, "BadParameter"));
});
