'use strict';

// A small web application as teams deploy it to Azure App Service. Nothing in this file knows of anything but Azure:
// the vault is named by its public address, the identity is whatever the platform offers.

const express = require('express');
const { DefaultAzureCredential } = require('@azure/identity');
const { SecretClient } = require('@azure/keyvault-secrets');
const sql = require('mssql');

const vaultUrl = 'https://demo.vault.azure.net';
const port = process.env.PORT || 3000;

async function main() {
  const client = new SecretClient(vaultUrl, new DefaultAzureCredential());
  const secret = await client.getSecret('db-connection-string');
  const pool = await sql.connect(secret.value);

  const app = express();
  app.get('/healthz', async (req, res) => {
    try {
      await pool.request().query('SELECT 1 AS alive');
      res.type('text').send('healthy');
    } catch (err) {
      console.error('the database does not answer:', err.message);
      res.status(503).type('text').send('unhealthy');
    }
  });
  app.listen(port, (err) => {
    if (err) throw err;
    console.log(`listening on port ${port}`);
  });
}

main().catch((err) => {
  console.error('could not start:', err.message);
  process.exit(1);
});
