package guac

import "scrier/wire"

// The bounds of what is drawn on. Layers (0 is the screen) and buffers (negative) are canvases in
// the page, of four bytes a pixel. guacd keeps a buffer for each bitmap in the cache that an RDP
// server fills, which has up to 9,400 places, mostly for tiles of 64 x 64; the screen, the cursor
// and some scratch buffers are the rest.
const (
	maxCanvases   = 16384
	maxIndex      = 1 << 16
	maxSide       = 16384     // pixels; the longest side of a canvas in Chromium
	maxArea       = 64 << 20  // pixels of one canvas: 8192 x 8192
	maxPixels     = 128 << 20 // of all of them
	maxCoordinate = 32768     // either way; RDP's and VNC's own coordinates have 16 bits
	maxPushed     = 1024      // states that were pushed and not popped
)

// canvases are the layers and buffers that there are, with their sizes.
type canvases struct {
	extents map[int]extent
	pixels  int
	pushed  int
}

type extent struct{ width, height int }

// use says that canvas n is named, which makes it if there is none.
func (c *canvases) use(n int) error {
	if _, ok := c.extents[n]; ok {
		return nil
	}
	if len(c.extents) == maxCanvases {
		return wire.Errorf(wire.Protocol, "guacd uses more than %d layers and buffers", maxCanvases)
	}
	c.extents[n] = extent{}
	return nil
}

// resize gives canvas n a size.
func (c *canvases) resize(n int, e extent) error {
	if e.width > maxSide || e.height > maxSide || e.width*e.height > maxArea {
		return wire.Errorf(wire.Protocol, "guacd makes layer %d as large as %d x %d", n, e.width, e.height)
	}
	old := c.extents[n]
	pixels := c.pixels - old.width*old.height + e.width*e.height
	if pixels > maxPixels {
		return wire.Errorf(wire.Protocol, "guacd's layers and buffers have more than %d pixels together", maxPixels)
	}
	c.pixels = pixels
	c.extents[n] = e
	return nil
}

// draw says that something is drawn on canvas n up to the corner. Buffers grow with it in the
// page, layers do not.
func (c *canvases) draw(n, right, bottom int) error {
	if n >= 0 {
		return nil
	}
	old := c.extents[n]
	grown := extent{max(old.width, right), max(old.height, bottom)}
	if grown == old {
		return nil
	}
	return c.resize(n, grown)
}

// dispose forgets canvas n. The screen itself stays.
func (c *canvases) dispose(n int) {
	if n == 0 {
		return
	}
	old := c.extents[n]
	c.pixels -= old.width * old.height
	delete(c.extents, n)
}
