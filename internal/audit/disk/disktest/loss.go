package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// PowerLoss returns the directory as a machine could find it after its power failed now: what was synced is there;
// of the rest a random choice. The receiver is dead afterwards.
func (d *FS) PowerLoss() *FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	next := New(d.rng.Uint64())
	names := maps.Clone(d.durable)
	keep := d.chances()
	for _, change := range d.changes {
		if !keep() {
			break // names reach the disk in order
		}
		change(names)
	}
	seen := map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order, so that a seed always gives the same
		ino := names[name]
		if seen[ino] == nil {
			content := d.survivors(ino)
			seen[ino] = &inode{cache: content, durable: slices.Clone(content), reserved: ino.reserved}
		}
		next.names[name], next.durable[name] = seen[ino], seen[ino]
	}
	return next
}

// Kill returns the directory as the next process finds it after this one was killed: everything written is there. The
// receiver is dead afterwards; what was not synced still is not.
func (d *FS) Kill() *FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	return &FS{rng: rand.New(rand.NewPCG(d.rng.Uint64(), 1)), names: d.names, durable: d.durable, changes: d.changes,
		capacity: d.capacity}
}

// chances returns a function that keeps none, all, or some of what it is asked about.
func (d *FS) chances() func() bool {
	percent := []int{0, 10, 50, 90, 100}[d.rng.IntN(5)]
	return func() bool { return d.rng.IntN(100) < percent }
}

// survivors returns the durable content with a random choice of the pending changes, sector by sector.
func (d *FS) survivors(ino *inode) []byte {
	content := slices.Clone(ino.durable)
	keep := d.chances()
	for _, c := range ino.pending {
		if c.data == nil {
			if keep() {
				content = resize(content, c.off)
			}
			continue
		}
		const sector = 512
		for at := int64(0); at < int64(len(c.data)); {
			next := min(int64(len(c.data)), (c.off+at)/sector*sector+sector-c.off)
			if keep() {
				content = writeAt(content, c.off+at, c.data[at:next])
			}
			at = next
		}
	}
	return content
}
