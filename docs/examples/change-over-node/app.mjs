// Asks the database all the time, from WORKERS at once, and prints each change of its credential. At SIGTERM it prints what it did.

import { DefaultAzureCredential } from '@azure/identity';
import { SecretClient } from '@azure/keyvault-secrets';
import { ChangingPool } from './pool.mjs';

const secrets = new SecretClient(process.env.KEYWRIGHT_VAULT_URL, new DefaultAzureCredential());
const pool = await new ChangingPool(
  secrets,
  process.env.DB_SECRET ?? 'db-credential',
  { host: process.env.DB_HOST, port: Number(process.env.DB_PORT ?? 5432), database: process.env.DB_NAME ?? 'postgres', max: 8, maxLifetimeSeconds: 1 },
  { pollSeconds: Number(process.env.POLL_SECONDS ?? 60), onChange: (version) => console.log('signed in with', version) },
).open();

let running = true;
let queries = 0;
let failed = 0;
process.on('SIGTERM', () => {
  running = false;
});

async function work() {
  while (running) {
    try {
      await pool.query('SELECT 1');
    } catch (err) {
      failed++;
      console.error('a query failed:', err.message);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    queries++;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

await Promise.all(Array.from({ length: Number(process.env.WORKERS ?? 16) }, work));
await pool.close();
console.log(`${queries} queries, ${failed} failed`);
