// Verifies an audit log as Go's own libraries for transparency logs do: the checkpoint with
// golang.org/x/mod/sumdb/note, proofs and tiles with golang.org/x/mod/sumdb/tlog. The folder that is
// given has the files key, checkpoint, older, proofs.json and tile/….
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type inclusion struct {
	Sequence int64
	Record   string
	Hashes   []string
}

type proofs struct {
	Inclusion   []inclusion
	Consistency []string
}

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

// tree opens a checkpoint: origin, size and root.
func tree(dir, name string) tlog.Tree {
	verifier, err := note.NewVerifier(strings.TrimSpace(read(dir, "key")))
	check(err, "the verifier key")
	opened, err := note.Open([]byte(read(dir, name)), note.VerifierList(verifier))
	check(err, name)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		check(fmt.Errorf("origin %q", lines[0]), name)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "size")
	return tlog.Tree{N: size, Hash: hash(lines[2])}
}

func hash(text string) tlog.Hash {
	var out tlog.Hash
	bytes, err := base64.StdEncoding.DecodeString(text)
	check(err, "a hash")
	if copy(out[:], bytes) != len(out) || len(bytes) != len(out) {
		check(fmt.Errorf("%d bytes", len(bytes)), "a hash")
	}
	return out
}

func hashes(texts []string) []tlog.Hash {
	out := make([]tlog.Hash, 0, len(texts))
	for _, text := range texts {
		out = append(out, hash(text))
	}
	return out
}

// tiles reads tiles of height 8 from the folder.
type tiles struct{ dir string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range wanted {
		// Go's path has the height in it, C2SP's has not.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		bytes, err := os.ReadFile(filepath.Join(t.dir, path))
		if err != nil {
			return nil, err
		}
		out = append(out, bytes)
	}
	return out, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	dir := os.Args[1]
	now, before := tree(dir, "checkpoint"), tree(dir, "older")
	var all proofs
	check(json.Unmarshal([]byte(read(dir, "proofs.json")), &all), "proofs.json")
	for _, one := range all.Inclusion {
		leaf := tlog.RecordHash([]byte(one.Record))
		err := tlog.CheckRecord(hashes(one.Hashes), now.N, now.Hash, one.Sequence, leaf)
		check(err, fmt.Sprintf("record %d", one.Sequence))
	}
	err := tlog.CheckTree(hashes(all.Consistency), now.N, now.Hash, before.N, before.Hash)
	check(err, "consistency")
	// Authenticates every tile that it reads against the signed tree.
	reader := tlog.TileHashReader(now, tiles{dir})
	for _, one := range all.Inclusion {
		stored, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, one.Sequence)})
		check(err, "tiles")
		if stored[0] != tlog.RecordHash([]byte(one.Record)) {
			check(fmt.Errorf("another leaf"), fmt.Sprintf("tiles: record %d", one.Sequence))
		}
	}
	root, err := tlog.TreeHash(before.N, reader)
	check(err, "tiles")
	if root != before.Hash {
		check(fmt.Errorf("another root"), "the older tree from the tiles")
	}
	fmt.Printf("ok %d %d\n", len(all.Inclusion), now.N)
}
