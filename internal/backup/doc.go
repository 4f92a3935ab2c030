// Package backup copies whole vaults into a container of blobs, and brings them, or single keys of them, back.
//
// A copy is a folder of the container. It holds one blob for each secret, key and certificate of the vault, which is what that object's own backup is: sealed
// under the tenant's backup key, so that the container learns nothing but names and sizes. A key or secret that belongs to a certificate is in the
// certificate's. The manifest, sealed as well, comes last: it names every blob with its digest, so that a copy that ended early is no copy, and
// one from which a blob was taken, or in which one was put in another's place, is noticed.
//
//	FOLDER/secrets/NAME  FOLDER/keys/NAME  FOLDER/certificates/NAME  FOLDER/manifest
//
// A restore adds what is missing. It changes nothing that is there, live or deleted, and says how much that was: to bring an object back to
// what it was, purge it first. Whatever may be restored into a vault one by one may be so together, and nothing else: the vault has to be of the
// same tenant and subscription.
//
// Copies and restores are jobs: they run behind the request that began them, by the right of who did, which is asked for each object anew, so that access
// that is withdrawn ends them. What is known of them is in the store, and every node tells of it. A job runs on the node that was asked, under a lease of its
// vault, and ends with that node: what authorises at the container is in no store, so that nobody else could go on. Whoever looks next, or begins another job of the vault, finds
// the lease run out and notes that the job failed. It is begun again: a copy without a manifest counts for nothing, and a restore passes over what it has done.
//
// Containers speak the REST protocol of Azure Blob Storage with a shared access signature ("Put Blob", "Get Blob").
package backup
