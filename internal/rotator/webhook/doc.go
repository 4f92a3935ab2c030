// Package webhook changes credentials by asking a web service to do it: one HTTPS request for each verb, in the words of package contract.
//
// The service learns who asks from a client certificate, or from a signature over the time and the body. No request holds a value: it holds a
// token for each, which the service exchanges, once and before the order's deadline, at Values. So neither a log of requests nor a proxy that ends
// TLS has anything to steal, and what was stolen later is worth nothing. The tokens live in this process's memory: after a crash the engine
// asks again, with new ones.
package webhook
