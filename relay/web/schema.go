package web

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"

	"scrier/relay/access"
	"scrier/relay/files"
	"scrier/relay/fleet"
	"scrier/relay/store"
	"scrier/wire"
)

// schemas makes JSON schemas of Go types, as encoding/json writes and reads them. Structs become
// components, each once.
type schemas struct {
	components object
	made       map[string]reflect.Type // what each component is of
	loose      bool                    // of a request: what is left out has its zero value
}

// of is the schema of an answer.
func (s *schemas) of(v any) object { return s.schema(reflect.TypeOf(v)) }

// taken is the schema of a request.
func (s *schemas) taken(v any) object {
	return (&schemas{components: s.components, made: s.made, loose: true}).schema(reflect.TypeOf(v))
}

func (s *schemas) schema(t reflect.Type) object {
	if t == nil {
		return object{}
	}
	if values := valuesOf(t); values != nil {
		return object{"type": "string", "enum": values}
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[wire.EnvoyID](), t == reflect.TypeFor[wire.SessionID]():
		return object{"type": "string", "format": "uuid"}
	case implements[json.Marshaler](t):
		return object{} // only its code knows
	case implements[encoding.TextMarshaler](t):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Pointer:
		return s.schema(t.Elem())
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": s.schema(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": s.schema(t.Elem())}
	case reflect.Struct:
		return s.component(t)
	}
	return object{} // an interface: anything
}

func (s *schemas) component(t reflect.Type) object {
	name := s.name(t)
	if name == "" {
		return s.structure(t)
	}
	if of := s.made[name]; of != nil && of != t { // two types of one name
		name = title(packageOf(t)) + name
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if s.made[name] == nil {
		s.made[name] = t // before its fields: it may hold itself
		s.components[name] = s.structure(t)
	}
	return ref
}

// name is the component's: the type's, with its package where that alone says little.
func (s *schemas) name(t reflect.Type) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, t.Name())
	if name == "" {
		return ""
	}
	switch pkg := packageOf(t); {
	case name == "View":
		name = title(pkg)
	case pkg != "web" && pkg != "fleet" && pkg != "access" && pkg != "wire":
		name = title(pkg) + name
	}
	if s.loose && !strings.HasSuffix(name, "Request") {
		name += "Request"
	}
	return title(name)
}

func packageOf(t reflect.Type) string { return t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:] }

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (s *schemas) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	s.fields(t, properties, &required)
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 && !s.loose {
		out["required"] = required
	}
	return out
}

func (s *schemas) fields(t reflect.Type, properties object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && indirect(f.Type).Kind() == reflect.Struct {
			s.fields(indirect(f.Type), properties, required)
			continue
		}
		if name == "-" && options == "" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		schema := s.schema(f.Type)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if f.Type.Kind() == reflect.Pointer && !optional {
			schema = object{"oneOf": []object{schema, {"type": "null"}}}
		}
		properties[name] = schema
		if !optional {
			*required = append(*required, name)
		}
	}
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// valuesOf lists the values of the types that have few.
func valuesOf(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[fleet.State]():
		return []string{string(fleet.Online), string(fleet.Stale), string(fleet.Offline), string(fleet.Revoked), string(fleet.Quarantined)}
	case reflect.TypeFor[store.State]():
		return []string{store.Waiting.String(), store.Active.String(), store.Closing.String(), store.Closed.String()}
	case reflect.TypeFor[access.Role]():
		var roles []string
		for _, r := range access.Roles() {
			roles = append(roles, string(r))
		}
		return roles
	case reflect.TypeFor[files.Kind]():
		var kinds []string
		for _, k := range files.Kinds() {
			kinds = append(kinds, string(k))
		}
		return kinds
	case reflect.TypeFor[wire.Kind]():
		return []string{string(wire.KindSSH), string(wire.KindRDP), string(wire.KindVNC)}
	}
	return nil
}

func implements[I any](t reflect.Type) bool {
	i := reflect.TypeFor[I]()
	return t.Implements(i) || t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(i)
}
