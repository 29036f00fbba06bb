package guac

// What a desktop server may ask for during its login.
const (
	username = "username"
	password = "password"
	domain   = "domain"
)

// RequiredNames is what a `required` instruction asks for, nil for all others. Only user name,
// password and domain are ever asked of a person; other names are left out.
func RequiredNames(i *Instruction) []string {
	if !i.Is("required") {
		return nil
	}
	var names []string
	for n := range i.Len() {
		if credential(i.Arg(n)) {
			names = append(names, string(i.Arg(n)))
		}
	}
	return names
}

// credentials says whether i asks for something, and for nothing but credentials.
func credentials(i *Instruction) bool {
	for n := range i.Len() {
		if !credential(i.Arg(n)) {
			return false
		}
	}
	return 0 < i.Len() && i.Len() <= 3
}

func credential(name []byte) bool {
	switch string(name) {
	case username, password, domain:
		return true
	}
	return false
}
