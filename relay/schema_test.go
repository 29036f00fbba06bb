package relay

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// description is an OpenAPI document, as a client reads one.
type description struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

// parameter is one of an operation's.
type parameter struct {
	Name, In string
	Schema   struct{ Type string }
}

type operation struct {
	OperationID string
	Description string
	Parameters  []parameter
	RequestBody struct {
		Content map[string]struct{ Schema schema }
	}
	Responses map[string]struct {
		Ref     string `json:"$ref"`
		Content map[string]struct{ Schema schema }
	}
	Roles []string `json:"x-roles"`
}

// schema is the part of JSON Schema that the description uses; reading is strict, so that a word
// that is not checked here cannot slip in.
type schema struct {
	Ref             string             `json:"$ref,omitempty"`
	Type            string             `json:"type,omitempty"`
	Format          string             `json:"format,omitempty"`
	ContentEncoding string             `json:"contentEncoding,omitempty"`
	Enum            []string           `json:"enum,omitempty"`
	Minimum         *float64           `json:"minimum,omitempty"`
	Items           *schema            `json:"items,omitempty"`
	OneOf           []schema           `json:"oneOf,omitempty"`
	Properties      map[string]*schema `json:"properties,omitempty"`
	Required        []string           `json:"required,omitempty"`
	Additional      json.RawMessage    `json:"additionalProperties,omitempty"`
}

func (s *schema) UnmarshalJSON(data []byte) error {
	type plain schema
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(s))
}

// check says what in v, a value as package json decodes it, is not as s says.
func (d *description) check(s *schema, v any, at string) error {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		target, known := d.Components.Schemas[name]
		if !known {
			return fmt.Errorf("%s: there is no schema %s", at, name)
		}
		return d.check(&target, v, at)
	}
	if len(s.OneOf) > 0 {
		var err error
		for _, one := range s.OneOf {
			if err = d.check(&one, v, at); err == nil {
				return nil
			}
		}
		return err
	}
	ok := true
	switch s.Type {
	case "":
	case "null":
		ok = v == nil
	case "boolean":
		_, ok = v.(bool)
	case "number", "integer":
		var n float64
		n, ok = v.(float64)
		ok = ok && (s.Type == "number" || n == math.Trunc(n)) && (s.Minimum == nil || n >= *s.Minimum)
	case "string":
		var text string
		text, ok = v.(string)
		if ok && s.Format == "date-time" {
			_, err := time.Parse(time.RFC3339Nano, text)
			ok = err == nil && strings.HasSuffix(text, "Z") // in UTC, wherever the relay is
		}
		if ok && s.Format == "uuid" {
			_, err := uuid.Parse(text)
			ok = err == nil
		}
		ok = ok && (s.Enum == nil || slices.Contains(s.Enum, text))
	case "array":
		var list []any
		list, ok = v.([]any)
		for i, item := range list {
			if err := d.check(s.Items, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case "object":
		var fields map[string]any
		if fields, ok = v.(map[string]any); ok {
			return d.checkObject(s, fields, at)
		}
	default:
		return fmt.Errorf("%s: type %q is not known", at, s.Type)
	}
	if !ok {
		return fmt.Errorf("%s: %v is no %s %s %v", at, v, s.Type, s.Format, s.Enum)
	}
	return nil
}

func (d *description) checkObject(s *schema, fields map[string]any, at string) error {
	for _, name := range s.Required {
		if _, there := fields[name]; !there {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	var others *schema
	closed := string(s.Additional) == "false"
	if len(s.Additional) > 0 && !closed {
		if err := json.Unmarshal(s.Additional, &others); err != nil {
			return err
		}
	}
	for name, v := range fields {
		property := s.Properties[name]
		if property == nil {
			property = others
		}
		if property == nil && closed {
			return fmt.Errorf("%s: %s is not described", at, name)
		}
		if property == nil {
			continue
		}
		if err := d.check(property, v, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}
