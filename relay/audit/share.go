package audit

// How many records [Log.AppendOwn] takes while the disk is full. They are small: all of them take less
// than a quarter of the usual reserve. An operator has fewer sign-ins and passkeys than their part, as
// new ones are not made on a full disk.
const (
	ShareOfOne = 32
	ShareOfAll = 1024
)

// shares counts what was taken of the reserve for operators' own affairs since the disk is full. It is
// the writer's own.
type shares struct {
	taken int
	by    map[string]int // of each operator; at most ShareOfAll
}

// take says whether there may be another record of this operator, and counts it.
func (s *shares) take(operator string) bool {
	if s.taken >= ShareOfAll || s.by[operator] >= ShareOfOne {
		return false
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.taken++
	s.by[operator]++
	return true
}
