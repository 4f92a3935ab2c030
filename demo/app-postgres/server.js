'use strict';

// A small web application as teams run it on Azure: the connection string of its database lives in Key Vault, the
// application's own identity may read it, and no credential is in the code or in its settings.

const express = require('express');
const { DefaultAzureCredential } = require('@azure/identity');
const { SecretClient } = require('@azure/keyvault-secrets');
const { Pool } = require('pg');

const port = Number(process.env.PORT || 3000);
const vaultUrl = process.env.KEY_VAULT_URL;

async function main() {
  if (!vaultUrl) {
    throw new Error('KEY_VAULT_URL is not set: give the address of the vault, such as https://NAME.vault.azure.net');
  }
  const secrets = new SecretClient(vaultUrl, new DefaultAzureCredential());
  const connectionString = async () => new URL((await secrets.getSecret('db-connection-string')).value);

  // Every new connection signs in with the password that the vault holds then: it may change while the application runs.
  const first = await connectionString();
  const pool = new Pool({
    host: first.hostname,
    port: first.port,
    database: first.pathname.slice(1),
    user: decodeURIComponent(first.username),
    password: async () => decodeURIComponent((await connectionString()).password),
  });
  pool.on('error', (err) => console.error('an idle database connection failed:', err.message));

  const app = express();
  app.get('/healthz', async (req, res) => {
    try {
      await pool.query('SELECT 1');
      res.type('text').send('healthy');
    } catch (err) {
      console.error('the database does not answer:', err.message);
      res.status(503).type('text').send('unhealthy');
    }
  });
  app.listen(port, process.env.HOST, (err) => {
    if (err) throw err;
    console.log(`listening on port ${port}`);
  });
}

main().catch((err) => {
  console.error('could not start:', err.message);
  process.exit(1);
});
