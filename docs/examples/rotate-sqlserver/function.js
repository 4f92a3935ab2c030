'use strict';

// Rotates a login of SQL Server when its secret is near its expiry, as a function for Azure's Event Grid does. Nothing in this file knows of
// Keywright: it takes the event, stores a new version of the secret, and then updates the database. The value of the secret is JSON with
// a username and a password; what else is in it stays.
//
//   AZURE_KEYVAULT_URL   the vault
//   DATABASE_ADMIN       a connection string of an administrator, who may change the login
//   PORT                 where to listen on 127.0.0.1; 7072 when absent

const http = require('node:http');
const { randomInt } = require('node:crypto');
const { DefaultAzureCredential } = require('@azure/identity');
const { SecretClient } = require('@azure/keyvault-secrets');
const sql = require('mssql');

const validity = 60 * 24 * 60 * 60 * 1000; // milliseconds
const client = new SecretClient(process.env.AZURE_KEYVAULT_URL, new DefaultAzureCredential());

function newPassword() {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  const pick = (from) => from[randomInt(from.length)];
  let password = pick(letters);
  while (password.length < 32) password += pick(letters + '0123456789');
  return password;
}

async function setPassword(login, password) {
  const pool = await sql.connect(process.env.DATABASE_ADMIN);
  try {
    // The statement takes no parameters.
    const name = login.replaceAll(']', ']]');
    await pool.request().batch(`ALTER LOGIN [${name}] WITH PASSWORD = N'${password}'`);
  } finally {
    await pool.close();
  }
}

async function rotate(name, version) {
  const secret = await client.getSecret(name);
  if (secret.properties.version !== version) {
    console.log('skipped', name, 'which has a newer version already');
    return; // events are delivered at least once
  }
  const login = { ...JSON.parse(secret.value), password: newPassword() };
  const { contentType, tags } = secret.properties;
  const stored = await client.setSecret(name, JSON.stringify(login), { contentType, tags, expiresOn: new Date(Date.now() + validity) });
  console.log('stored', name, stored.properties.version);
  await setPassword(login.username, login.password);
  console.log('updated', name, stored.properties.version);
}

async function handle(events) {
  let answer = {};
  for (const event of events) {
    switch (event.eventType) {
      case 'Microsoft.EventGrid.SubscriptionValidationEvent':
        answer = { validationResponse: event.data.validationCode };
        break;
      case 'Microsoft.KeyVault.SecretNearExpiry':
        await rotate(event.data.ObjectName, event.data.Version);
        break;
    }
  }
  return answer;
}

const server = http.createServer(async (request, response) => {
  const reply = (status, answer) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(answer));
  try {
    let body = '';
    for await (const chunk of request) body += chunk;
    reply(200, await handle(JSON.parse(body)));
  } catch (err) {
    // Not 200: the event comes again.
    console.log('failed:', err.name, err.code ?? '');
    reply(500, {});
  }
});
server.listen(process.env.PORT ?? 7072, '127.0.0.1', () => console.log('listening on', server.address().port));
