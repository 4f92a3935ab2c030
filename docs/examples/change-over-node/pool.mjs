// A pool of PostgreSQL connections whose credential is a secret that changes. It needs nothing but the Azure SDK and pg.
//
// Two things bring a new credential: a poll, and a login that PostgreSQL refuses. Either way a new pool is made and tried first; then it takes the
// place of the old one, which ends when its last query has.

import { hostname } from 'node:os';
import { randomBytes } from 'node:crypto';
import pg from 'pg';

// What tells this process apart from others of its identity: the vault waits for each of them before an old credential goes.
const instance = `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;

// SQLSTATE codes by which PostgreSQL refuses a credential.
const refusals = new Set(['28P01', '28000']);
export const refused = (err) => refusals.has(err?.code);

const between = (low, high) => low + Math.random() * (high - low);

export class ChangingPool {
  #secrets;
  #name;
  #options;
  #poolOptions;
  // The pool in use: its version, and how many queries are under way on it.
  #current;
  #looking;
  #timer;
  #closed = false;
  #quietUntil = 0;
  #quiet = 0;

  // options.pollSeconds should be at most a third of the time for which an old credential stays valid.
  constructor(secrets, name, poolOptions, options = {}) {
    this.#secrets = secrets;
    this.#name = name;
    this.#poolOptions = poolOptions;
    this.#options = { pollSeconds: 60, onChange: () => {}, ...options };
  }

  async open() {
    await this.#look();
    this.#plan();
    return this;
  }

  get version() {
    return this.#current?.version;
  }

  // query is pool.query; a refused login is tried again once with a newer credential.
  async query(...args) {
    const used = this.version;
    try {
      return await this.#run(args);
    } catch (err) {
      if (!refused(err) || !(await this.#renewed(used))) throw err;
      return this.#run(args);
    }
  }

  async #run(args) {
    const current = this.#current;
    current.queries++;
    try {
      return await current.pool.query(...args);
    } finally {
      current.queries--;
      this.#retire(current);
    }
  }

  // An old pool ends behind its last query: pg would leave queries that still wait for a connection without an answer.
  #retire(old) {
    if (old === this.#current || old.queries > 0) return;
    old.ended ??= old.pool.end().catch((err) => console.error('ending an old pool:', err.message));
  }

  async close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking?.catch(() => {});
    await this.#current?.pool.end();
  }

  // Pollers that began together must not stay together: give or take a fifth.
  #plan() {
    if (this.#closed) return;
    const wait = this.#options.pollSeconds * 1000 * between(0.8, 1.2);
    this.#timer = setTimeout(async () => {
      await this.#look().catch((err) => console.error('the secret cannot be read; the old one stays in use:', err.message));
      this.#plan();
    }, wait);
    this.#timer.unref();
  }

  // Whoever is refused with a version that is still the newest does not ask again for one second, then two, up to a minute.
  async #renewed(version) {
    if (this.version !== version) return true;
    if (Date.now() < this.#quietUntil) return false;
    await this.#look();
    if (this.version !== version) return true;
    this.#quiet = Math.min(60_000, Math.max(1000, 2 * this.#quiet));
    this.#quietUntil = Date.now() + between(this.#quiet / 2, this.#quiet);
    return false;
  }

  // All who want to know at the same time make one request.
  #look() {
    this.#looking ??= this.#change().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #change() {
    const secret = await this.#secrets.getSecret(this.#name, { requestOptions: { customHeaders: { 'X-Keywright-Instance': instance } } });
    const version = secret.properties.version;
    if (version === this.version || this.#closed) return;
    const { username, password } = JSON.parse(secret.value); // both are of one version and belong together
    const pool = new pg.Pool({ ...this.#poolOptions, user: username, password });
    pool.on('error', (err) => console.error('an idle connection failed:', err.message));
    try {
      await pool.query('SELECT 1');
    } catch (err) {
      await pool.end();
      throw err; // the pool in use stays
    }
    const old = this.#current;
    this.#current = { pool, version, queries: 0 };
    this.#quiet = 0;
    this.#quietUntil = 0;
    this.#options.onChange(version);
    if (old) this.#retire(old);
  }
}
