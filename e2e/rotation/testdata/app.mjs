// An application that knows nothing of Keywright: Azure's SDK, pg, and a session to a database for each of SECRETS. See app.py, which does the same.

import { EnvironmentCredential } from '@azure/identity';
import { SecretClient } from '@azure/keyvault-secrets';
import pg from 'pg';

const client = new SecretClient(process.env.VAULT_URL, new EnvironmentCredential());
const poll = Number(process.env.POLL) * 1000;
const sparse = process.env.SPARSE === '1';
const say = (...words) => console.log(words.join(' '));

class Login {
  constructor(name) {
    Object.assign(this, { name, since: 0, readAt: 0 });
  }

  async read() {
    this.readAt = performance.now();
    const secret = await client.getSecret(this.name);
    if (secret.properties.version === this.version) return;
    this.value = JSON.parse(secret.value);
    if (await this.signIn()) {
      this.version = secret.properties.version;
      say('holds', this.name, this.version);
    }
  }

  // The new session takes the place of the one before, which stays when it is refused.
  async signIn() {
    this.since = performance.now();
    const fresh = new pg.Client({ user: this.value.username, password: this.value.password });
    fresh.on('error', (err) => say('failed', this.name, err.message));
    try {
      await fresh.connect();
    } catch (err) {
      say('refused', this.name, err.message);
      return false;
    }
    await this.leave();
    this.session = fresh;
    return true;
  }

  async leave() {
    await this.session?.end();
    this.session = undefined;
  }

  async work() {
    if (poll && performance.now() - this.readAt > poll) await this.read();
    if (sparse && performance.now() % 4000 > 2000) await this.leave();
    else if (!this.session || performance.now() - this.since > 1000) await this.signIn();
    await this.session?.query('SELECT 1');
  }
}

const logins = process.env.SECRETS.split(',').map((name) => new Login(name));
for (const login of logins) await login.read();
for (;;) {
  for (const login of logins) {
    try {
      await login.work();
    } catch (err) {
      say('failed', login.name, err.message);
      await login.leave().catch(() => {});
    }
  }
  say('worked');
  await new Promise((resolve) => setTimeout(resolve, 250));
}
