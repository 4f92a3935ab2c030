package powerloss

import "math/rand/v2"

// sectorBytes is what a disk writes whole or not at all.
const sectorBytes = 512

// fate is what became of one pending operation.
type fate struct {
	keep bool
	// random, if not nil, tears a write: each sector is kept with the probability share.
	random *rand.Rand
	share  float64
}

// apply does to the file as much of the operation as was kept.
func (f fate) apply(c *content, op *Op) {
	switch {
	case op.Kind == Write && f.random != nil:
		f.tear(c, op)
	case f.keep:
		c.apply(op)
	}
}

// tear keeps some sectors of a write. The size may have reached the disk without the data.
func (f fate) tear(c *content, op *Op) {
	for start := 0; start < len(op.Data); {
		off := op.Off + int64(start)
		end := min(len(op.Data), start+int(sectorBytes-off%sectorBytes))
		if f.random.Float64() < f.share {
			c.writeAt(op.Data[start:end], off)
		}
		start = end
	}
	if f.random.IntN(2) == 0 {
		c.extend(op.Off + int64(len(op.Data)))
	}
}

// draw decides the fate of every pending operation of one crash. It is a function of the seed, its number and the
// operation's position alone, so a crash can be built again without those before it.
type draw struct {
	seed, number uint64
	// cut, unless zero, keeps what lies before it and tears what lies at it.
	cut   int
	share float64
	torn  bool
}

// newDraw chooses what is kept: nothing, everything, a prefix, 10, 50 or 90 %.
func newDraw(crash Crash, oldest int) draw {
	d := draw{seed: crash.Seed, number: ^crash.Draw}
	random := d.source(crash.Pos)
	d.torn = random.IntN(2) == 0
	switch random.IntN(8) {
	case 0:
		d.share, d.torn = 0, false
	case 1:
		d.share, d.torn = 1, false
	case 2:
		d.cut = oldest + random.IntN(crash.Pos-oldest+1)
	case 3:
		d.cut = crash.Pos - random.IntN(min(20, crash.Pos-oldest)+1)
	case 4, 5:
		d.share = 0.5
	case 6:
		d.share = 0.1
	case 7:
		d.share = 0.9
	}
	return d
}

// source returns the random numbers for one position.
func (d draw) source(pos int) *rand.Rand {
	return rand.New(rand.NewPCG(d.seed^uint64(pos)*0x9e3779b97f4a7c15, d.number))
}

// fate decides about the operation at pos.
func (d draw) fate(pos int) fate {
	random := d.source(pos)
	switch {
	case d.cut > 0 && pos == d.cut:
		return fate{keep: false, random: random, share: 0.5}
	case d.cut > 0:
		return fate{keep: pos < d.cut}
	case d.torn && random.IntN(2) == 0:
		return fate{keep: random.Float64() < d.share, random: random, share: d.share}
	default:
		return fate{keep: random.Float64() < d.share}
	}
}
