// Package upkeep_test does to servers at work what their operators do: backs them up, restores them, ends and replaces them. Each server is a process with a directory of
// its own, and whoever works with it must not notice.
//
//   - Backups under load (TestBackUpUnderLoad): writers set, delete and purge secrets and make keys, readers read, and every layer of the keyring is rotated three times
//     meanwhile. A store that is restored on the other engine is one moment of the first: it has every version that was acknowledged before its backup was asked for, byte by
//     byte, no half of any other, and nothing that had been purged; its audit log verifies. What was backed up before the rotations opens behind them: full backups,
//     single objects, and a copy of the vault.
//   - Ends of nodes (TestRollingRestart): two nodes are ended and started one after the other, and no request fails of clients that send it once more, to the other node.
//   - Upgrades (TestRollingUpgrade): three nodes of the newest commit whose schema has a step less are replaced by this tree's, one after the other, and one goes back and
//     forth once more; nodes of both serve on the new schema, and no request fails.
//
// Short versions of the first two run by default. KEYWRIGHT_UPKEEP_TIME sets how long loads last between two things that happen, such as 20s, and asks for the third, which
// builds the older program from the history of the repository; KEYWRIGHT_UPKEEP_FROM names another commit than the one that is found.
package upkeep_test
