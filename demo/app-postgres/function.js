'use strict';

// A rotation function as teams run them on Azure: Event Grid tells it that a secret is near its expiry; it stores a new version, and then updates the
// database. It needs no administrator of the database: a role may change its own password.

const { randomBytes } = require('node:crypto');
const express = require('express');
const { DefaultAzureCredential } = require('@azure/identity');
const { SecretClient } = require('@azure/keyvault-secrets');
const { Client } = require('pg');

const validityInDays = 60;
const secrets = new SecretClient(process.env.KEY_VAULT_URL, new DefaultAzureCredential());

async function rotate({ ObjectName: name, Version: version }) {
  const before = await secrets.getSecret(name);
  if (before.properties.version !== version) {
    console.log(`${name} has a newer version already`); // events are delivered at least once
    return;
  }
  const next = new URL(before.value);
  next.password = randomBytes(24).toString('base64url');
  const expiresOn = new Date(Date.now() + validityInDays * 24 * 3600 * 1000);
  const stored = await secrets.setSecret(name, next.href, { expiresOn });
  console.log(`stored a new version of ${name}`);
  await setPassword(before.value, next.password);
  console.log(`updated the database with version ${stored.properties.version}`);
}

async function setPassword(connectionString, password) {
  const database = new Client({ connectionString });
  await database.connect();
  try {
    await database.query(`ALTER ROLE CURRENT_USER PASSWORD ${database.escapeLiteral(password)}`);
  } finally {
    await database.end();
  }
}

const app = express();
app.post('/rotate', express.json(), async (req, res) => {
  try {
    for (const event of req.body) {
      if (event.eventType === 'Microsoft.EventGrid.SubscriptionValidationEvent') {
        res.json({ validationResponse: event.data.validationCode });
        return;
      }
      if (event.eventType === 'Microsoft.KeyVault.SecretNearExpiry') {
        console.log(`heard ${event.eventType} of ${event.subject}`);
        await rotate(event.data);
      }
    }
    res.sendStatus(200);
  } catch (err) {
    console.log('failed, and will be asked again:', err.message);
    res.sendStatus(500);
  }
});
app.listen(Number(process.env.PORT || 7071), process.env.HOST, (err) => {
  if (err) throw err;
  console.log('listening');
});
