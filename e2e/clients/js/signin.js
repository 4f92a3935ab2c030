// signin.js read|write CREDENTIAL… signs in by each credential. A writer sets a secret and reads it back; a reader reads it
// and is refused when it tries to set it.
import assert from "node:assert/strict";
import { client, credentials } from "./client.js";

const [what, ...names] = process.argv.slice(2);

for (const name of names) {
  const secrets = client(credentials[name]());
  if (what === "write") {
    await secrets.setSecret("greeting", `hello from ${name}`);
    assert.equal((await secrets.getSecret("greeting")).value, `hello from ${name}`);
  } else {
    assert.match((await secrets.getSecret("greeting")).value, /^hello/);
    await assert.rejects(secrets.setSecret("greeting", "x"), { statusCode: 403, code: "Forbidden" });
  }
  console.log(`${what}: ${name} ok`);
}
