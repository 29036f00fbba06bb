package etcd

import "slices"

// changes are what a batch will write, by key. The zero value has none.
type changes struct {
	by    map[string]change
	keys  []string // of by, in order
	bytes int      // of the keys and values
}

// change is a key's new value; nil: it is deleted.
type change []byte

func (c *changes) get(key string) (change, bool) {
	v, ok := c.by[key]
	return v, ok
}

func (c *changes) set(key string, to change) {
	old, ok := c.by[key]
	if !ok {
		if c.by == nil {
			c.by = map[string]change{}
		}
		at, _ := slices.BinarySearch(c.keys, key)
		c.keys = slices.Insert(c.keys, at, key)
		c.bytes += len(key)
	}
	c.bytes += len(to) - len(old)
	c.by[key] = to
}

func (c *changes) forget(key string) {
	old, ok := c.by[key]
	if !ok {
		return
	}
	at, _ := slices.BinarySearch(c.keys, key)
	c.keys = slices.Delete(c.keys, at, at+1)
	c.bytes -= len(key) + len(old)
	delete(c.by, key)
}

// from is the first key that is not before one.
func (c *changes) from(key string) (string, bool) {
	at, _ := slices.BinarySearch(c.keys, key)
	if at == len(c.keys) {
		return "", false
	}
	return c.keys[at], true
}
