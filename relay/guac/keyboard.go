package guac

import "slices"

// Keyboards lists the names that guacd has for keyboard layouts (RDP's server-layout), as of 1.6.
// An older guacd takes its default, en-us-qwerty, for a name that it does not know.
func Keyboards() []string {
	return []string{
		"en-us-qwerty",
		"cs-cz-qwertz",
		"da-dk-qwerty",
		"de-ch-qwertz",
		"de-de-qwertz",
		"en-gb-qwerty",
		"es-es-qwerty",
		"es-latam-qwerty",
		"failsafe", // sends Unicode where it can
		"fr-be-azerty",
		"fr-ca-qwerty",
		"fr-ch-qwertz",
		"fr-fr-azerty",
		"hu-hu-qwertz",
		"it-it-qwerty",
		"ja-jp-qwerty",
		"no-no-qwerty",
		"pl-pl-qwerty",
		"pt-br-qwerty",
		"pt-pt-qwerty",
		"ro-ro-qwerty",
		"sv-se-qwerty",
		"tr-tr-qwerty",
	}
}

// IsKeyboard says whether name is one of them.
func IsKeyboard(name string) bool { return slices.Contains(Keyboards(), name) }
