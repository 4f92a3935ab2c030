'use strict';

// Drives the fake with npm's mssql as an application would; called by TestNodeDriver. The connection strings come in
// the environment as JSON; each scenario prints one line.

const sql = require('mssql');

const { good, bad, loud, change, next } = JSON.parse(process.env.TDS_SCENARIOS);

async function connect(connectionString, errors) {
  const config = sql.ConnectionPool.parseConnectionString(connectionString);
  config.beforeConnect = (c) => c.on('errorMessage', (e) => errors.push(e.number));
  return new sql.ConnectionPool(config).connect();
}

async function main() {
  const errors = [];
  const pool = await connect(good, errors);

  const one = await pool.request().query('SELECT 1 AS alive');
  console.log('query', JSON.stringify(one.recordset));
  const batch = await pool.request().batch('SELECT 1 AS alive');
  console.log('batch', JSON.stringify(batch.recordset));
  const both = await pool.request().batch("SELECT 1 AS a; SELECT N'two' AS b");
  console.log('two results', JSON.stringify(both.recordsets));
  const typed = await pool.request().input('p', sql.NVarChar, 'grüße 🙂').input('n', sql.Int, 7)
    .query('SELECT @p AS p; SELECT @n AS n');
  console.log('parameters', JSON.stringify(typed.recordsets));
  const max = await pool.request().input('p', sql.NVarChar(sql.MAX), 'm'.repeat(3000)).query('SELECT @p AS p');
  console.log('long', max.recordset[0].p.length);

  const started = Date.now();
  const slow = pool.request();
  const waiting = slow.query("WAITFOR DELAY '00:00:30'").then(() => 'finished', (e) => e.code);
  setTimeout(() => slow.cancel(), 200);
  console.log('cancel', await waiting, Date.now() - started < 4000 ? 'at once' : 'late');
  console.log('after cancel', (await pool.request().query('SELECT 1 AS alive')).recordset[0].alive);

  const transaction = pool.transaction();
  await transaction.begin();
  await transaction.request().batch(change);
  await transaction.rollback();
  await transaction.begin();
  console.log('in transaction', (await transaction.request().query('SELECT 1 AS alive')).recordset[0].alive);
  await transaction.commit();

  console.log('refused statement', await pool.request().query('DROP TABLE x').catch((e) => e.number));
  await pool.request().batch(change);
  console.log('still open', (await pool.request().query('SELECT SUSER_SNAME() AS who')).recordset[0].who);
  await pool.close();

  for (const [name, connectionString] of [['old password', good], ['wrong password', bad]]) {
    errors.length = 0;
    const outcome = await connect(connectionString, errors).then(() => 'connected', (e) => e.code);
    console.log(name, outcome, errors.join());
  }
  const renewed = await connect(next, errors);
  console.log('new password', renewed.connected);
  await renewed.close();
  console.log('without encryption', await connect(loud, errors).then((p) => p.close().then(() => 'connected'), (e) => e.code));
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
