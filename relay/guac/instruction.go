package guac

// The bounds of one instruction. guacd itself reads elements of at most 8192 code points with
// at most 5 digits of length, and 128 elements (libguac, parser-constants.h); it never sends a
// blob of more than 6048 bytes, which are 8064 in base64.
const (
	maxElement     = 8192
	maxDigits      = 5
	maxElements    = 128
	maxInstruction = 64 << 10 // bytes; the size of a Reader's buffer
)

// Instruction is one instruction as it came. It lies in the buffer of the [Reader] that returned
// it and is valid until that Reader's Next is called again.
type Instruction struct {
	raw      []byte
	elements [maxElements]span
	count    int
}

// span is where an element's text lies in an instruction.
type span struct{ start, end int32 }

// Opcode is the first element.
func (i *Instruction) Opcode() []byte { return i.element(0) }

// Is compares the opcode.
func (i *Instruction) Is(opcode string) bool { return string(i.element(0)) == opcode }

// Len is the number of arguments, which are the elements behind the opcode.
func (i *Instruction) Len() int { return max(i.count-1, 0) }

// Arg is the n-th argument, counted from 0; nil if there are not as many.
func (i *Instruction) Arg(n int) []byte {
	if n < 0 || n >= i.Len() {
		return nil
	}
	return i.element(n + 1)
}

// Raw is the whole instruction, from its first digit to its semicolon.
func (i *Instruction) Raw() []byte { return i.raw }

func (i *Instruction) element(n int) []byte {
	if n >= i.count {
		return nil
	}
	s := i.elements[n]
	return i.raw[s.start:s.end:s.end]
}
