package relational

// Steps are the steps of the schema; an engine counts how many a database has. Steps only add, so that binaries of two releases can use one database at the
// same time: what an older one inserts has the new columns' defaults. A step that has been released means the same for ever.
//
// Every table is an ordinary rowid table in SQLite: with values of a kilobyte, WITHOUT ROWID costs a multiple of the disk and most of the
// speed. What is searched or hot has a column; the rest of a record is a JSON document. Instants are microseconds since 1970,
// absent ones NULL.
var Steps = []string{`
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO meta (name, value) VALUES ('position', 0), ('touch', 0);

CREATE TABLE tenants (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, doc TEXT NOT NULL);
CREATE TABLE subscriptions (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, doc TEXT NOT NULL);
CREATE INDEX subscriptions_tenant ON subscriptions (tenant, id);
CREATE TABLE resource_groups (subscription TEXT NOT NULL, name_key TEXT NOT NULL, doc TEXT NOT NULL,
  PRIMARY KEY (subscription, name_key));

CREATE TABLE vaults (id TEXT PRIMARY KEY, name_key TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, subscription TEXT NOT NULL,
  group_key TEXT NOT NULL, purge_at INTEGER, revision INTEGER NOT NULL, doc TEXT NOT NULL);
CREATE INDEX vaults_tenant ON vaults (tenant, name_key);
CREATE INDEX vaults_group ON vaults (subscription, group_key, name_key);
CREATE INDEX vaults_deleted ON vaults (name_key) WHERE purge_at IS NOT NULL;

-- An update of current touches one page: no index holds it.
CREATE TABLE objects (id TEXT PRIMARY KEY, vault TEXT NOT NULL, kind TEXT NOT NULL, name_key TEXT NOT NULL, name TEXT NOT NULL,
  created INTEGER, current TEXT NOT NULL, labels TEXT, managed INTEGER NOT NULL, deleted_at INTEGER, purge_at INTEGER,
  revision INTEGER NOT NULL, UNIQUE (vault, kind, name_key));
CREATE INDEX objects_deleted ON objects (vault, kind, name_key) WHERE purge_at IS NOT NULL;
CREATE INDEX objects_purge ON objects (purge_at, id) WHERE purge_at IS NOT NULL;
-- The only index of versions: "one", "list" and "count" are each one seek, and an insert appends.
CREATE TABLE versions (object TEXT NOT NULL, id TEXT NOT NULL, enabled INTEGER NOT NULL, not_before INTEGER, expires INTEGER,
  created INTEGER, updated INTEGER, content_type TEXT NOT NULL, tags TEXT, state TEXT NOT NULL,
  previous TEXT NOT NULL, key TEXT NOT NULL, wrapped_key BLOB, ciphertext BLOB);
CREATE UNIQUE INDEX versions_id ON versions (object, id);
CREATE TABLE tombstones (object TEXT PRIMARY KEY, vault TEXT NOT NULL, at INTEGER);

CREATE TABLE principals (tenant TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, name_key TEXT NOT NULL, app_id TEXT,
  upn_key TEXT, resource_key TEXT, revision INTEGER NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (tenant, id));
CREATE INDEX principals_name ON principals (tenant, name_key);
CREATE UNIQUE INDEX principals_app ON principals (tenant, app_id) WHERE app_id IS NOT NULL;
CREATE UNIQUE INDEX principals_upn ON principals (tenant, upn_key) WHERE upn_key IS NOT NULL;
CREATE UNIQUE INDEX principals_resource ON principals (tenant, resource_key) WHERE resource_key IS NOT NULL;
CREATE TABLE members (tenant TEXT NOT NULL, group_id TEXT NOT NULL, member TEXT NOT NULL, PRIMARY KEY (tenant, group_id, member));
CREATE INDEX members_member ON members (tenant, member, group_id);
CREATE TABLE issuers (tenant TEXT NOT NULL, issuer TEXT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (tenant, issuer));

CREATE TABLE grants (tenant TEXT NOT NULL, id TEXT NOT NULL, scope_key TEXT NOT NULL, principal TEXT NOT NULL, doc TEXT NOT NULL,
  PRIMARY KEY (tenant, id));
CREATE INDEX grants_scope ON grants (tenant, scope_key, id);
CREATE INDEX grants_principal ON grants (tenant, principal, id);
CREATE TABLE roles (tenant TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (tenant, id));

CREATE TABLE wrapped_keys (id TEXT PRIMARY KEY, purpose TEXT NOT NULL, owner TEXT NOT NULL, created INTEGER, doc TEXT NOT NULL);
CREATE INDEX wrapped_keys_owner ON wrapped_keys (purpose, owner, created, id);
CREATE TABLE signing_keys (tenant TEXT NOT NULL, id TEXT NOT NULL, created INTEGER, doc TEXT NOT NULL, PRIMARY KEY (tenant, id));
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);

CREATE TABLE sign_ins (kind TEXT NOT NULL, id TEXT NOT NULL, tenant TEXT NOT NULL, expires INTEGER NOT NULL, data BLOB,
  PRIMARY KEY (kind, id));
CREATE INDEX sign_ins_expires ON sign_ins (expires);

CREATE TABLE journal (position INTEGER PRIMARY KEY, op TEXT NOT NULL, at INTEGER NOT NULL, changes TEXT, audit BLOB, events TEXT);
CREATE UNIQUE INDEX journal_op ON journal (op);
CREATE TABLE cursors (reader TEXT PRIMARY KEY, position INTEGER NOT NULL);
`,
	rotationSchema,
	subscriptionSchema,
	rolloutSchema,
	holdingsSchema,
	loanSchema,
	keySchema,
	leaseSchema,
	issuanceSchema,
	issuanceEndSchema,
	enrolmentSchema,
	endpointSchema,
	keyNeedSchema,
	nodeSchema,
	auditLogSchema,
	retiredSchema,
	backupSchema,
	keyNeedNoteSchema,
	heldSchema,
}

// Needs is how many steps a release must know to use a schema that has all of them. It grows only with a step that does more than add.
const Needs = 1
