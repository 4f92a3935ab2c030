// Package harden keeps other programs and the kernel from copying the memory of this process, where unwrapped keys are.
// What it cannot do: hide memory from the superuser, or from a hypervisor.
package harden
