package console

import "fmt"

// Config is the block "console" of agent.yaml.
type Config struct {
	Enabled bool    `yaml:"enabled"`
	Consent Consent `yaml:"consent"`
	Control bool    `yaml:"control"` // false: whoever looks can never type
}

// Consent says whether the user at the screen is asked.
type Consent string

// The kinds of consent.
const (
	Always Consent = "always"
	Never  Consent = "never" // for machines that are nobody's own, such as a kiosk
)

// DefaultConfig is what holds without an agent.yaml.
func DefaultConfig() Config { return Config{Enabled: true, Consent: Always, Control: true} }

// Check says what is not valid.
func (c *Config) Check() error {
	if c.Consent != Always && c.Consent != Never {
		return fmt.Errorf("console.consent: %q is neither always nor never", c.Consent)
	}
	return nil
}
