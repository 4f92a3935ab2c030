// Every operation on secrets, with the Azure SDK for JavaScript.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ClientSecretCredential } from "@azure/identity";
import { client, credentials } from "./client.js";

const secrets = client(credentials.environment());
// A poller asks every two seconds unless it is told otherwise.
const soon = { intervalInMs: 20 };

/** refused matches an answer by its status and both of its codes. */
const refused = (statusCode, code, inner) => (err) => {
  assert.equal(err.statusCode, statusCode, err.message);
  assert.equal(err.code, code, err.message);
  assert.equal(err.details.error.innerError?.code, inner, err.message);
  return true;
};

const collect = async (pages) => {
  const found = [];
  let count = 0;
  for await (const page of pages) {
    found.push(...page);
    count++;
  }
  return [found, count];
};

const values = {
  plain: "correct horse battery staple",
  empty: "",
  unicode: "grüße, 世界 \u{1f511} e\u0301",
  controls: "\u0000\u0001\u001f\u007f\t\r\n\u2028\u2029",
  quotes: `"\\/'\`<&>`,
  structured: JSON.stringify({ user: "app", port: 5432, nested: { x: null } }),
  binary: Buffer.from([0, 255, 128, 10, 13]).toString("base64"),
  largest: "0123456789abcdef".repeat(1600),
  wide: "é".repeat(12800),
};

test("values come back as they were stored", async () => {
  for (const [name, value] of Object.entries(values)) {
    const set = await secrets.setSecret(`js-value-${name}`, value, { contentType: "text/plain" });
    for (const version of [undefined, set.properties.version]) {
      const got = await secrets.getSecret(`js-value-${name}`, { version });
      assert.equal(got.value, value, name);
      assert.equal(got.properties.id, set.properties.id);
      assert.equal(got.properties.contentType, "text/plain");
    }
  }
  await assert.rejects(secrets.setSecret("js-value-too-large", "x".repeat(25601)), refused(400, "BadParameter"));
});

test("attributes and tags", async () => {
  const notBefore = new Date(1700000000000);
  const expiresOn = new Date(1800000000000);
  const first = await secrets.setSecret("js-attributes", "v", { contentType: "application/json", tags: { owner: "shop", größe: "" }, notBefore, expiresOn });
  const got = await secrets.getSecret("js-attributes");
  assert.deepEqual(got.properties, first.properties);
  const p = got.properties;
  assert.deepEqual([p.notBefore, p.expiresOn, p.enabled, p.recoverableDays, p.recoveryLevel], [notBefore, expiresOn, true, 90, "Recoverable+Purgeable"]);
  assert.deepEqual({ ...p.tags }, { owner: "shop", größe: "" });
  assert.ok(Math.abs(Date.now() - p.createdOn) < 60000 && p.updatedOn.getTime() === p.createdOn.getTime());

  const updated = await secrets.updateSecretProperties("js-attributes", p.version, { tags: { team: "two" } });
  assert.deepEqual([{ ...updated.tags }, updated.contentType, updated.expiresOn], [{ team: "two" }, "application/json", expiresOn]);

  const second = await secrets.setSecret("js-attributes", "w", { enabled: false });
  assert.deepEqual([second.properties.contentType, second.properties.expiresOn, second.properties.enabled], [undefined, undefined, false]);
  await assert.rejects(secrets.getSecret("js-attributes"), refused(403, "Forbidden", "SecretDisabled"));
  assert.equal((await secrets.getSecret("js-attributes", { version: p.version })).value, "v");
  await secrets.updateSecretProperties("js-attributes", second.properties.version, { enabled: true });
  assert.equal((await secrets.getSecret("js-attributes")).value, "w");
  await secrets.setSecret("js-expired", "v", { expiresOn: new Date(Date.now() - 3600000) });
  assert.equal((await secrets.getSecret("js-expired")).value, "v");
  await assert.rejects(secrets.setSecret("js-attributes", "v", { notBefore: expiresOn, expiresOn: notBefore }), refused(400, "BadParameter"));
});

test("thirty versions", async () => {
  const want = new Map();
  let last;
  for (let i = 0; i < 30; i++) {
    last = (await secrets.setSecret("js-versions", `value ${i}`)).properties.version;
    want.set(last, `value ${i}`);
  }
  const [found, pages] = await collect(secrets.listPropertiesOfSecretVersions("js-versions").byPage());
  assert.ok(pages >= 2);
  assert.deepEqual(found.map((p) => p.version).sort(), [...want.keys()].sort());
  for (const { version, value } of found) {
    assert.equal(value, undefined);
    assert.equal((await secrets.getSecret("js-versions", { version })).value, want.get(version));
  }
  assert.equal((await secrets.getSecret("js-versions")).properties.version, last);
});

test("sixty secrets in a list", async () => {
  const names = Array.from({ length: 60 }, (_, i) => `js-list-${String(i).padStart(2, "0")}`);
  await Promise.all(names.map((name, i) => secrets.setSecret(name, "v", { enabled: i % 10 !== 0 })));
  const [found, pages] = await collect(secrets.listPropertiesOfSecrets().byPage({ maxPageSize: 25 }));
  const mine = found.filter((p) => p.name.startsWith("js-list-"));
  assert.ok(pages >= 3);
  assert.deepEqual(mine.map((p) => p.name), names);
  assert.deepEqual(mine.filter((p) => !p.enabled).map((p) => p.name), names.filter((n) => n.endsWith("0")));
  assert.ok(found.every((p) => p.version === undefined));
});

test("delete, look, recover", async () => {
  const first = await secrets.setSecret("js-deleted", "one", { tags: { k: "v" } });
  const second = await secrets.setSecret("js-deleted", "two");
  // With the SDK's own interval, as most programs have it.
  const poller = await secrets.beginDeleteSecret("js-deleted");
  const deleted = await poller.pollUntilDone();
  assert.equal(deleted.value, undefined);
  assert.ok(deleted.properties.recoveryId.endsWith("/deletedsecrets/js-deleted"));
  assert.equal(deleted.properties.scheduledPurgeDate - deleted.properties.deletedOn, 90 * 24 * 3600 * 1000);
  assert.deepEqual((await secrets.getDeletedSecret("js-deleted")).properties, deleted.properties);
  const [gone] = await collect(secrets.listDeletedSecrets().byPage());
  assert.ok(gone.some((d) => d.name === "js-deleted" && d.properties.deletedOn));
  await assert.rejects(secrets.getSecret("js-deleted"), refused(404, "SecretNotFound"));
  await assert.rejects(secrets.setSecret("js-deleted", "x"), refused(409, "Conflict", "ObjectIsDeletedButRecoverable"));

  const back = await (await secrets.beginRecoverDeletedSecret("js-deleted", soon)).pollUntilDone();
  assert.equal(back.version, second.properties.version);
  assert.deepEqual(await secrets.getSecret("js-deleted"), second);
  assert.deepEqual(await secrets.getSecret("js-deleted", { version: first.properties.version }), first);
});

test("purge", async () => {
  await secrets.setSecret("js-purged", "v");
  await assert.rejects(secrets.purgeDeletedSecret("js-purged"), refused(404, "SecretNotFound"));
  await (await secrets.beginDeleteSecret("js-purged", soon)).pollUntilDone();
  await secrets.purgeDeletedSecret("js-purged");
  await assert.rejects(secrets.getDeletedSecret("js-purged"), refused(404, "SecretNotFound"));
  await secrets.setSecret("js-purged", "the name is free again");
});

test("backup and restore", async () => {
  const kept = [];
  for (const value of ["one", "two"]) kept.push(await secrets.setSecret("js-backup", value, { tags: { value } }));
  const blob = await secrets.backupSecret("js-backup");
  await assert.rejects(secrets.restoreSecretBackup(blob), refused(409, "Conflict", "ObjectAlreadyExists"));
  await (await secrets.beginDeleteSecret("js-backup", soon)).pollUntilDone();
  await secrets.purgeDeletedSecret("js-backup");
  const restored = await secrets.restoreSecretBackup(blob);
  assert.equal(restored.version, kept[1].properties.version);
  for (const old of kept) assert.deepEqual(await secrets.getSecret("js-backup", { version: old.properties.version }), old);
  await assert.rejects(secrets.restoreSecretBackup(new Uint8Array([1, 2, 3])), refused(400, "BadParameter"));
});

test("errors", async () => {
  await assert.rejects(secrets.getSecret("nothing-here"), refused(404, "SecretNotFound"));
  await assert.rejects(secrets.beginDeleteSecret("nothing-here"), refused(404, "SecretNotFound"));
  await assert.rejects(secrets.setSecret("under_score", "x"), refused(400, "BadParameter"));
  const stranger = client(new ClientSecretCredential(process.env.AZURE_TENANT_ID, process.env.STRANGER_ID, process.env.STRANGER_SECRET));
  for (const name of ["js-purged", "nothing-here"]) {
    await assert.rejects(stranger.getSecret(name), refused(403, "Forbidden", "ForbiddenByRbac"));
  }
  const wrong = client(new ClientSecretCredential(process.env.AZURE_TENANT_ID, process.env.STRANGER_ID, "not the secret"));
  await assert.rejects(wrong.getSecret("js-purged"), /AADSTS7000215/);
});
