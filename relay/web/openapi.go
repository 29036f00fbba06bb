package web

import (
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/wire"
)

func (a *api) descriptionRoutes() []route {
	document := sync.OnceValue(func() object { return describe(a.routes()) })
	return []route{{
		method: "GET", pattern: "/openapi.json", verb: access.SeeSelf, what: "This description", out: object{},
		handle: func(*http.Request, access.Operator) (any, error) { return document(), nil },
	}}
}

// object is a JSON object of the description.
type object = map[string]any

// describe makes an OpenAPI 3.1 description of the very table that the routes are made of.
func describe(routes []route) object {
	s := &schemas{components: object{}, made: map[string]reflect.Type{}}
	paths := object{}
	for _, r := range routes {
		path, ok := paths[r.pattern].(object)
		if !ok {
			path = object{}
			paths[r.pattern] = path
		}
		path[strings.ToLower(r.method)] = operation(r, s)
	}
	s.of(fleet.Envoy{}) // these two travel as events as well
	s.of(Gone{})
	problem := s.of(wire.Problem{})
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "Scrier relay",
			"version": wire.Version(),
			"description": "The API of one relay, the same over HTTPS, an operator's QUIC link and the relay's admin socket. " +
				"What a caller may do follows from their role; GET /self lists it.",
		},
		"servers":  []object{{"url": "/api/v1"}},
		"security": []object{{"cookie": []string{}}, {"link": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": s.components,
			"responses": object{"Problem": object{
				"description": "What went wrong (RFC 9457); `type` ends in the name of a code, which is for programs.",
				"content":     object{"application/problem+json": object{"schema": problem}},
			}},
			"securitySchemes": object{
				"cookie": object{"type": "apiKey", "in": "cookie", "name": "__Host-scrier", "description": "A browser's sign-in."},
				"link":   object{"type": "mutualTLS", "description": "The operator's certificate of a link that the scrier command holds. On the relay's host the admin socket needs none: the kernel says who calls."},
			},
		},
	}
}

var placeholder = regexp.MustCompile(`\{([^}]+)\}`)

func operation(r route, s *schemas) object {
	op := object{
		"summary":     r.what,
		"operationId": operationID(r),
		"tags":        []string{strings.Split(r.pattern, "/")[1]},
		"responses":   responses(r, s),
	}
	var more []string
	if r.more != "" {
		more = append(more, r.more)
	}
	if r.verb == anyone {
		op["security"] = []object{}
		more = append(more, "For everybody, also without a sign-in.")
	} else {
		var roles []string
		for _, role := range access.Roles() {
			if (access.Operator{Role: role}).May(r.verb) == nil {
				roles = append(roles, string(role))
			}
		}
		op["x-verb"], op["x-roles"] = r.verb, roles
		more = append(more, "For who may "+string(r.verb)+": "+strings.Join(roles, ", ")+".")
	}
	op["description"] = strings.Join(more, "\n\n")
	params := []object{}
	for _, m := range placeholder.FindAllStringSubmatch(r.pattern, -1) {
		params = append(params, object{
			"name": m[1], "in": "path", "required": true, "description": named(m[1]), "schema": object{"type": "string"},
		})
	}
	for _, q := range r.query {
		params = append(params, object{"name": q.name, "in": "query", "description": q.what, "schema": queryOf(r)})
	}
	if r.signed {
		params = append(params, object{"name": proofHeader, "in": "header", "description": "The signature, see POST /self/proofs; not on the admin socket.", "schema": object{"type": "string"}})
		more = append(more, "Must be signed, with one of the caller's SSH keys or passkeys, by a challenge that was made for this very request; 403 with `proof_required` otherwise.")
		op["description"] = strings.Join(more, "\n\n")
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if r.takes != "" {
		op["requestBody"] = object{"required": true, "content": object{r.takes: object{"schema": object{"type": "string", "format": "binary"}}}}
	}
	if r.in != nil {
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": s.taken(r.in)}}}
	}
	return op
}

// queryOf is the schema of a route's parameters.
func queryOf(r route) object {
	if r.many {
		return object{"type": "array", "items": object{"type": "string"}}
	}
	return object{"type": "string"}
}

// named says what stands for a part of a path.
func named(part string) string {
	switch part {
	case "envoy":
		return "an id, a hostname, or the beginning of either that only one envoy has"
	case "user":
		return "an operator's id or username"
	}
	return "an id"
}

func operationID(r route) string {
	id := strings.ToLower(r.method)
	for _, word := range strings.FieldsFunc(r.pattern, func(c rune) bool { return strings.ContainsRune("/{}.-", c) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

func responses(r route, s *schemas) object {
	problem := object{"$ref": "#/components/responses/Problem"}
	out := object{"default": problem}
	switch {
	case r.out != nil:
		ok := object{"description": "Done.", "content": object{"application/json": object{"schema": s.of(r.out)}}}
		if r.links() {
			ok["headers"] = object{"Link": object{
				"description": `Where the next page is, with rel="next" (RFC 8288); absent on the last.`, "schema": object{"type": "string"},
			}}
		}
		out["200"] = ok
	case r.media != "":
		out["200"] = object{"description": "The answer.", "content": object{r.media: object{"schema": object{"type": "string"}}}}
	default:
		out["204"] = object{"description": "Done."}
	}
	if r.verb != anyone {
		out["401"], out["403"] = problem, problem
	}
	return out
}

// links says whether the route answers in pages.
func (r route) links() bool {
	for _, q := range r.query {
		if q.name == "limit" {
			return true
		}
	}
	return false
}
