package guac

import "strconv"

// maxHeld is how many keys, and how many fingers, can be held at once. A keyboard reports at most
// some twenty.
const maxHeld = 64

// held is what a viewer holds down.
type held struct {
	keys    []int // keysyms
	touches []touch
	mouse   touch // its id is the mask of buttons
}

type touch struct{ id, x, y int }

// key notes that a key goes down or up. It is false if too many are down.
func (h *held) key(keysym int, down bool) bool {
	for n, k := range h.keys {
		if k == keysym {
			if !down {
				h.keys[n] = h.keys[len(h.keys)-1]
				h.keys = h.keys[:len(h.keys)-1]
			}
			return true
		}
	}
	if !down {
		return true
	}
	if len(h.keys) == maxHeld {
		return false
	}
	h.keys = append(h.keys, keysym)
	return true
}

// touch notes that a finger is at a point or was lifted. It is false if too many are there.
func (h *held) touch(t touch, down bool) bool {
	for n := range h.touches {
		if h.touches[n].id == t.id {
			if down {
				h.touches[n] = t
			} else {
				h.touches[n] = h.touches[len(h.touches)-1]
				h.touches = h.touches[:len(h.touches)-1]
			}
			return true
		}
	}
	if !down {
		return true
	}
	if len(h.touches) == maxHeld {
		return false
	}
	h.touches = append(h.touches, t)
	return true
}

// release appends what lets everything go, keys in the order opposite to their pressing.
func (h *held) release(dst []byte) []byte {
	for n := len(h.keys) - 1; n >= 0; n-- {
		dst = Append(dst, "key", strconv.Itoa(h.keys[n]), "0")
	}
	if h.mouse.id != 0 {
		dst = Append(dst, "mouse", strconv.Itoa(h.mouse.x), strconv.Itoa(h.mouse.y), "0")
	}
	for _, t := range h.touches {
		dst = Append(dst, "touch", strconv.Itoa(t.id), strconv.Itoa(t.x), strconv.Itoa(t.y), "0", "0", "0", "0")
	}
	*h = held{keys: h.keys[:0], touches: h.touches[:0]}
	return dst
}
