// Opens a checkpoint with golang.org/x/mod/sumdb/note under the key of its log and those of its witnesses
// (C2SP tlog-cosignature). The folder that is given has the files key, witnesses and checkpoint; all of
// them must have signed.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

func check(err error, doing string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", doing, err)
		os.Exit(1)
	}
}

func read(dir, name string) string {
	bytes, err := os.ReadFile(filepath.Join(dir, name))
	check(err, name)
	return string(bytes)
}

// witness verifies timestamped cosignatures.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }

func (w witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(sig)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, msg)
	return ed25519.Verify(w.key, []byte(signed), sig[8:])
}

func newWitness(vkey string) witness {
	parts := strings.SplitN(vkey, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	check(err, "a witness's key")
	if key[0] != 4 || len(key) != 1+ed25519.PublicKeySize {
		check(fmt.Errorf("not of type 4"), "a witness's key")
	}
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(id[:4])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		check(fmt.Errorf("another id"), "a witness's key")
	}
	return witness{parts[0], hash, key[1:]}
}

func main() {
	dir := os.Args[1]
	log, err := note.NewVerifier(strings.TrimSpace(read(dir, "key")))
	check(err, "the log's key")
	verifiers := []note.Verifier{log}
	for _, line := range strings.Fields(read(dir, "witnesses")) {
		verifiers = append(verifiers, newWitness(line))
	}
	opened, err := note.Open([]byte(read(dir, "checkpoint")), note.VerifierList(verifiers...))
	check(err, "checkpoint")
	if len(opened.Sigs) != len(verifiers) {
		check(fmt.Errorf("%d of %d signed", len(opened.Sigs), len(verifiers)), "checkpoint")
	}
	fmt.Printf("ok %d\n", len(opened.Sigs))
}
