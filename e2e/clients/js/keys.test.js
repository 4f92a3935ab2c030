// Every operation on keys, with the Azure SDK for JavaScript.
import assert from "node:assert/strict";
import {
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  createVerify,
  generateKeyPairSync,
  privateDecrypt,
  randomBytes,
  verify,
} from "node:crypto";
import { test } from "node:test";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";
import { credentials } from "./client.js";

const credential = credentials.environment();
const keys = new KeyClient(process.env.VAULT_URL, credential);
const soon = { intervalInMs: 20 };
const crypto = (key) => new CryptographyClient(key, credential);
const sha = (bits, data) => createHash(`sha${bits}`).update(data).digest();

/** refused matches an answer by its status and both of its codes. */
const refused = (statusCode, code, inner) => (err) => {
  assert.equal(err.statusCode, statusCode, err.message);
  assert.equal(err.code, code, err.message);
  assert.equal(err.details.error.innerError?.code, inner, err.message);
  return true;
};

/** publicKey is the key as this program's own library has it. */
const publicKey = (k) => {
  const text = (b) => b && Buffer.from(b).toString("base64url");
  const { kty, crv, n, e, x, y } = k.key;
  return createPublicKey({ format: "jwk", key: { kty: kty.replace("-HSM", ""), crv, n: text(n), e: text(e), x: text(x), y: text(y) } });
};

const collect = async (pages) => {
  const found = [];
  for await (const item of pages) found.push(item);
  return found;
};

test("keys of every type", async () => {
  for (const [name, make, kty, crv] of [
    ["rsa", () => keys.createRsaKey("js-rsa", { keySize: 2048 }), "RSA"],
    ["rsahsm", () => keys.createRsaKey("js-rsahsm", { hsm: true, keyOps: ["sign"] }), "RSA-HSM"],
    ["ec", () => keys.createEcKey("js-ec"), "EC", "P-256"],
    ["ec521", () => keys.createEcKey("js-ec521", { curve: "P-521", hsm: true }), "EC-HSM", "P-521"],
    ["ec256k", () => keys.createEcKey("js-ec256k", { curve: "P-256K" }), "EC", "P-256K"],
    ["oct", () => keys.createOctKey("js-oct", { hsm: true, keySize: 256 }), "oct-HSM"],
  ]) {
    const made = await make();
    assert.equal(made.keyType, kty, name);
    assert.equal(made.key.crv, crv, name);
    assert.equal(made.properties.hsmPlatform, "0");
    assert.equal(made.properties.exportable, false);
    assert.deepEqual(await keys.getKey(`js-${name}`), made);
    assert.deepEqual(await keys.getKey(`js-${name}`, { version: made.properties.version }), made);
  }
});

test("import", async () => {
  const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = pair.privateKey.export({ format: "jwk" });
  const bytes = Object.fromEntries(Object.entries(jwk).map(([k, v]) => [k, k === "kty" ? v : Buffer.from(v, "base64url")]));
  const got = await keys.importKey("js-import", { ...bytes, keyOps: ["sign", "decrypt"] }, { hardwareProtected: true });
  assert.deepEqual([got.keyType, got.keyOperations], ["RSA-HSM", ["sign", "decrypt"]]);
  const { result } = await crypto(got).sign("RS256", sha(256, "text"));
  assert.ok(createVerify("sha256").update("text").verify(pair.publicKey, result));
});

test("properties, versions and lists", async () => {
  const expiresOn = new Date(1900000000000);
  const first = await keys.createKey("js-versions", "EC", { tags: { a: "b" }, expiresOn });
  const updated = await keys.updateKeyProperties("js-versions", first.properties.version, { enabled: false, keyOps: ["sign"], tags: { c: "d" } });
  assert.deepEqual([updated.properties.enabled, updated.keyOperations, { ...updated.properties.tags }, updated.properties.expiresOn], [false, ["sign"], { c: "d" }, expiresOn]);
  await assert.rejects(crypto(updated.id).sign("ES256", sha(256, "")), refused(403, "Forbidden", "KeyDisabled"));
  const second = await keys.createKey("js-versions", "EC");
  const versions = await collect(keys.listPropertiesOfKeyVersions("js-versions"));
  assert.deepEqual(versions.map((v) => v.version).sort(), [first.properties.version, second.properties.version].sort());
  const listed = await collect(keys.listPropertiesOfKeys());
  assert.ok(listed.some((k) => k.name === "js-versions" && k.version === undefined));
});

test("delete, recover, purge", async () => {
  const made = await keys.createRsaKey("js-deleted");
  const deleted = await (await keys.beginDeleteKey("js-deleted", soon)).pollUntilDone();
  assert.equal(deleted.properties.scheduledPurgeDate - deleted.properties.deletedOn, 90 * 24 * 3600 * 1000);
  assert.deepEqual(await keys.getDeletedKey("js-deleted"), deleted);
  assert.ok((await collect(keys.listDeletedKeys())).some((k) => k.name === "js-deleted"));
  await assert.rejects(keys.createEcKey("js-deleted"), refused(409, "Conflict", "ObjectIsDeletedButRecoverable"));
  const recovered = await (await keys.beginRecoverDeletedKey("js-deleted", soon)).pollUntilDone();
  assert.equal(recovered.id, made.id);
  await (await keys.beginDeleteKey("js-deleted", soon)).pollUntilDone();
  await keys.purgeDeletedKey("js-deleted");
  await assert.rejects(keys.getKey("js-deleted"), refused(404, "KeyNotFound"));
});

test("backup and restore", async () => {
  const made = await keys.createEcKey("js-backup");
  const blob = await keys.backupKey("js-backup");
  await (await keys.beginDeleteKey("js-backup", soon)).pollUntilDone();
  await keys.purgeDeletedKey("js-backup");
  assert.deepEqual(await keys.restoreKeyBackup(blob), made);
});

test("rotation", async () => {
  const first = await keys.createEcKey("js-rotate", { tags: { a: "b" } });
  const policy = await keys.updateKeyRotationPolicy("js-rotate", {
    expiresIn: "P90D",
    lifetimeActions: [{ action: "Rotate", timeBeforeExpiry: "P30D" }],
  });
  assert.deepEqual(await keys.getKeyRotationPolicy("js-rotate"), policy);
  assert.deepEqual([policy.expiresIn, policy.lifetimeActions[0].action, policy.lifetimeActions[0].timeBeforeExpiry], ["P90D", "Rotate", "P30D"]);
  const second = await keys.rotateKey("js-rotate");
  assert.notEqual(second.id, first.id);
  assert.deepEqual({ ...second.properties.tags }, { a: "b" });
  assert.ok(Math.abs(second.properties.expiresOn - Date.now() - 90 * 24 * 3600 * 1000) < 60000);
});

test("what is signed in the vault verifies outside, and in the SDK", async () => {
  const rsa = await keys.createRsaKey("js-sign-rsa");
  for (const bits of [256, 384, 512]) {
    const digest = sha(bits, "message");
    for (const alg of [`RS${bits}`, `PS${bits}`]) {
      const { result } = await crypto(rsa.id).sign(alg, digest);
      const options = alg.startsWith("P") ? { padding: 6, saltLength: bits / 8 } : {};
      assert.ok(verify(`sha${bits}`, "message", { key: publicKey(rsa), ...options }, result), alg);
      // By its id alone the key is in the vault only; with the key at hand, the SDK verifies by itself what it can.
      for (const where of [rsa.id, rsa]) assert.equal((await crypto(where).verify(alg, digest, result)).result, true, alg);
      result[0] ^= 1;
      assert.equal((await crypto(rsa.id).verify(alg, digest, result)).result, false, alg);
    }
  }
  for (const [curve, alg, bits] of [["P-256", "ES256", 256], ["P-384", "ES384", 384], ["P-521", "ES512", 512]]) {
    const ec = await keys.createEcKey(`js-sign-${curve}`, { curve });
    const { result } = await crypto(ec).signData(alg, Buffer.from("message"));
    assert.ok(verify(`sha${bits}`, "message", { key: publicKey(ec), dsaEncoding: "ieee-p1363" }, result), alg);
    assert.equal((await crypto(ec).verifyData(alg, Buffer.from("message"), result)).result, true);
  }
  const k1 = await keys.createEcKey("js-sign-k1", { curve: "P-256K" });
  const { result } = await crypto(k1).sign("ES256K", sha(256, "message"));
  assert.equal((await crypto(k1).verify("ES256K", sha(256, "message"), result)).result, true);
});

test("what the SDK encrypts by itself the vault decrypts, and the other way round", async () => {
  const rsa = await keys.createRsaKey("js-encrypt");
  // Without a connection the client has the public half alone, so it cannot ask the vault.
  const local = new CryptographyClient({ ...rsa.key });
  const plaintext = Buffer.from("to be kept");
  for (const algorithm of ["RSA1_5", "RSA-OAEP"]) {
    const here = await local.encrypt({ algorithm, plaintext });
    assert.deepEqual(Buffer.from((await crypto(rsa).decrypt({ algorithm, ciphertext: here.result })).result), plaintext);
    const wrapped = await local.wrapKey(algorithm, plaintext);
    assert.deepEqual(Buffer.from((await crypto(rsa).unwrapKey(algorithm, wrapped.result)).result), plaintext);
  }
  for (const algorithm of ["RSA1_5", "RSA-OAEP", "RSA-OAEP-256"]) {
    const there = await crypto(rsa.id).encrypt({ algorithm, plaintext });
    assert.equal(there.keyID, rsa.id);
    assert.deepEqual(Buffer.from((await crypto(rsa).decrypt({ algorithm, ciphertext: there.result })).result), plaintext);
  }
  // And a key that was made here: the vault encrypts, this program decrypts.
  const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const bytes = Object.fromEntries(Object.entries(pair.privateKey.export({ format: "jwk" })).map(([k, v]) => [k, k === "kty" ? v : Buffer.from(v, "base64url")]));
  const own = await keys.importKey("js-own", { ...bytes, keyOps: ["encrypt"] });
  const { result } = await crypto(own.id).encrypt({ algorithm: "RSA-OAEP-256", plaintext });
  assert.deepEqual(privateDecrypt({ key: pair.privateKey, oaepHash: "sha256" }, result), plaintext);
});

test("symmetric keys", async () => {
  const oct = await keys.createOctKey("js-aes", { hsm: true, keySize: 256 });
  const plaintext = Buffer.from("to be kept by AES");
  const gcm = await crypto(oct).encrypt({ algorithm: "A256GCM", plaintext, additionalAuthenticatedData: Buffer.from("bound") });
  const opened = await crypto(oct).decrypt({ algorithm: "A256GCM", ciphertext: gcm.result, iv: gcm.iv, authenticationTag: gcm.authenticationTag, additionalAuthenticatedData: Buffer.from("bound") });
  assert.deepEqual(Buffer.from(opened.result), plaintext);
  // The SDK has the bytes of this one and computes with CBC by itself.
  const k = randomBytes(32);
  const imported = await keys.importKey("js-aes-own", { kty: "oct-HSM", k, keyOps: ["encrypt", "decrypt", "wrapKey", "unwrapKey"] });
  const local = new CryptographyClient({ kty: "oct", k, keyOps: ["encrypt", "decrypt", "wrapKey", "unwrapKey"] });
  const iv = randomBytes(16);
  const here = await local.encrypt({ algorithm: "A256CBCPAD", plaintext, iv });
  const there = await crypto(imported).encrypt({ algorithm: "A256CBCPAD", plaintext, iv });
  assert.deepEqual(Buffer.from(here.result), Buffer.from(there.result));
  assert.deepEqual(Buffer.from((await crypto(imported).decrypt({ algorithm: "A256CBCPAD", ciphertext: here.result, iv })).result), plaintext);
  assert.deepEqual(Buffer.from((await local.decrypt({ algorithm: "A256CBCPAD", ciphertext: there.result, iv })).result), plaintext);
  const wrapped = await crypto(imported).wrapKey("A256KW", iv);
  assert.deepEqual(Buffer.from((await crypto(imported).unwrapKey("A256KW", wrapped.result)).result), iv);
});

test("random bytes and attestation", async () => {
  assert.equal((await keys.getRandomBytes(16)).length, 16);
  const hsm = await keys.createEcKey("js-attestation", { hsm: true });
  const attested = await keys.getKeyAttestation("js-attestation");
  assert.equal(attested.id, hsm.id);
  assert.equal(attested.properties.hsmPlatform, "0");
});

/** released opens a released key as the environment does for which it is wrapped: an AES key under RSA-OAEP, and PKCS #8 under that (CKM_RSA_AES_KEY_WRAP). */
const released = (jws) => {
  const { response } = JSON.parse(Buffer.from(jws.split(".")[1], "base64url"));
  const { key_hsm, kid } = response.key.key;
  const blob = JSON.parse(Buffer.from(key_hsm, "base64url"));
  assert.deepEqual([blob.header.kid, blob.header.enc], ["TpmEphemeralEncryptionKey", "CKM_RSA_AES_KEY_WRAP"]);
  const ciphertext = Buffer.from(blob.ciphertext, "base64url");
  const kek = privateDecrypt({ key: process.env.ENVIRONMENT_KEY, oaepHash: "sha1" }, ciphertext.subarray(0, 256));
  const unwrap = createDecipheriv("id-aes256-wrap-pad", kek, Buffer.from("a65959a6", "hex"));
  const der = Buffer.concat([unwrap.update(ciphertext.subarray(256)), unwrap.final()]);
  return { kid, key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
};

test("release", async () => {
  const releasePolicy = { encodedPolicy: Buffer.from(process.env.RELEASE_POLICY), contentType: "application/json; charset=utf-8" };
  const made = await keys.createKey("js-release", "EC-HSM", { exportable: true, releasePolicy });
  assert.equal(made.properties.exportable, true);
  assert.deepEqual(Buffer.from(made.properties.releasePolicy.encodedPolicy), releasePolicy.encodedPolicy);
  const { value } = await keys.releaseKey("js-release", process.env.ATTESTATION, { nonce: "n", version: made.properties.version });
  const { kid, key } = released(value);
  assert.equal(kid, made.id);
  assert.deepEqual(createPublicKey(key).export({ format: "jwk" }), publicKey(made).export({ format: "jwk" }));
  await assert.rejects(keys.releaseKey("js-release", process.env.BAD_ATTESTATION), refused(403, "Forbidden"));
  await assert.rejects(keys.releaseKey("js-ec", process.env.ATTESTATION), refused(403, "Forbidden", "KeyOperationForbidden"));
});

test("refusals", async () => {
  await assert.rejects(keys.getKey("js-nothing"), refused(404, "KeyNotFound"));
  await assert.rejects(keys.rotateKey("js-nothing"), refused(404, "KeyNotFound"));
  await assert.rejects(keys.createKey("js-wrong", "OKP"), refused(400, "BadParameter"));
  const ec = await keys.createEcKey("js-refusals");
  await assert.rejects(crypto(ec.id).sign("ES384", sha(384, "")), refused(400, "BadParameter"));
  await assert.rejects(crypto(ec.id).sign("ES256", sha(384, "")), refused(400, "BadParameter"));
});
