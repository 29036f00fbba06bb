package terminal

import (
	"bytes"
	"slices"

	"scrier/relay/screen"
	"scrier/wire"
)

// keyframe is the screen at one moment of the output, as bytes that paint it. A viewer who comes when the backlog has
// forgotten the begin of the output is shown the oldest keyframe, and then what the backlog has from there on.
type keyframe struct {
	offset uint64 // of the output
	size   wire.Size
	paint  []byte
}

// keyframes are those within the backlog, oldest first. They hold a quarter of what the backlog does, and one more.
type keyframes struct {
	all  []keyframe
	next uint64 // when the next is due
}

const (
	// keyEvery is how far two keyframes are apart, in bytes: a late viewer misses no more of what the backlog has. It is
	// more if they are long (keyShare), or if the screen is large (keyCell): a program's output is not to
	// become slower by a tenth.
	keyEvery = 128 << 10
	keyShare = 4  // times the length of the last one
	keyCell  = 32 // bytes a cell

	// maxKeyframe is the longest that is kept, in bytes; of an ordinary screen it has some thousand.
	maxKeyframe = 256 << 10

	maxSpare = 8 << 10 // bytes of memory that a keyframe has and does not need

	// maxScreen is the longest paint of the screen of now, in bytes. A large one on which each cell has a look of its own
	// has two million.
	maxScreen = 4 << 20
)

// add makes a keyframe if one is due, and forgets those from before start. offset is what the screen has been given.
func (k *keyframes) add(s *screen.Screen, offset, start uint64) {
	if offset < k.next {
		return
	}
	var spare []byte // of one that is forgotten
	n := 0
	for n < len(k.all) && k.all[n].offset < start {
		spare = k.all[n].paint
		n++
	}
	k.all = slices.Delete(k.all, 0, n)
	size := s.Size()
	paint := s.Repaint(spare[:0], maxKeyframe, 0, "")
	every := max(keyEvery, keyCell*uint64(size.Cols)*uint64(size.Rows))
	if paint == nil {
		k.next = offset + max(every, keyShare*maxKeyframe)
		return
	}
	k.next = offset + max(every, keyShare*uint64(len(paint)))
	if cap(paint)-len(paint) > maxSpare {
		paint = bytes.Clone(paint)
	}
	k.all = append(k.all, keyframe{offset: offset, size: size, paint: paint})
}

// first is the oldest keyframe that is not from before start; nil if there is none.
func (k *keyframes) first(start uint64) *keyframe {
	for i := range k.all {
		if k.all[i].offset >= start {
			return &k.all[i]
		}
	}
	return nil
}

// at is the paint for a terminal of a size, or nil if it would be too long.
func (k *keyframe) at(size wire.Size) []byte {
	if k.size == size {
		return bytes.Clone(k.paint) // its memory is used again
	}
	s := screen.New(k.size)
	s.Write(k.paint)
	s.Resize(size)
	return s.Repaint(nil, maxScreen, 0, "")
}

// beginLocked is where the output begins for a viewer who has not seen all of it, and what its terminal is to be
// painted with before; nil: nothing. The backlog has forgotten what came before start.
func (t *Terminal) beginLocked(start uint64) (next uint64, paint []byte) {
	if k := t.keyframes.first(start); k != nil {
		if paint := k.at(t.input.size); paint != nil {
			return k.offset, paint
		}
	}
	// No lines above the screen, but the screen.
	t.fitLocked(t.input.size)
	if paint := t.screen.Repaint(nil, maxScreen, 0, ""); paint != nil {
		return t.out.head, paint
	}
	return start, nil
}

// fitLocked gives the screen a size.
func (t *Terminal) fitLocked(size wire.Size) {
	before := t.screen.Size()
	if t.screen.Resize(size); t.screen.Size() != before {
		t.sized = t.out.head
	}
}

// anewLocked paints the screen of now for a viewer who has got all of the output, but at another size than the
// program had, or with something written over it. There are none if the paint would take lines away: those that
// have come down onto the screen in a resize, and are not known here.
func (t *Terminal) anewLocked() []wire.Message {
	t.fitLocked(t.input.size)
	if t.screen.Hollow() {
		return nil
	}
	paint := t.screen.Repaint(nil, maxScreen, 0, "")
	if paint == nil {
		return nil
	}
	return skips(paint, t.out.head)
}

// skips are the messages that paint a viewer's terminal and go on at a number.
func skips(paint []byte, to uint64) (messages []wire.Message) {
	for len(paint) > wire.MaxSkip {
		messages = append(messages, &wire.Skip{Screen: paint[:wire.MaxSkip], To: to, More: true})
		paint = paint[wire.MaxSkip:]
	}
	return append(messages, &wire.Skip{Screen: paint, To: to})
}
