// Command read-secret reads a secret with Azure's SDK for Go. Nothing in it knows of Keywright: where the vault is and who
// reads come from the environment, as in an application on Azure.
//
//	AZURE_KEYVAULT_URL=https://… read-secret NAME
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: read-secret NAME")
		os.Exit(2)
	}
	value, err := read(context.Background(), os.Getenv("AZURE_KEYVAULT_URL"), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "read-secret:", err)
		os.Exit(1)
	}
	fmt.Println(value)
}

// read returns the current value of a secret.
func read(ctx context.Context, vaultURL, name string) (string, error) {
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return "", err
	}
	client, err := azsecrets.NewClient(vaultURL, credential, nil)
	if err != nil {
		return "", err
	}
	secret, err := client.GetSecret(ctx, name, "", nil)
	if err != nil {
		return "", err
	}
	return *secret.Value, nil
}
