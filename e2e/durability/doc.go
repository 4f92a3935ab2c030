// Package durability holds the product to its first promise: what was acknowledged is there after kill -9, after a power
// cut, on a disk that fails, is slow or full; nothing is there in part; and the audit log verifies.
//
// The harnesses are e2e/powerloss, e2e/killtest and e2e/fulldisk, which know nothing of the product. This package has the
// workload, several writers on the store at once, and the checks that open what is left as a restart would.
//
// By default each test checks a sample. KEYWRIGHT_POWERLOSS_STATES and KEYWRIGHT_KILLTEST_KILLS set the full counts.
package durability
