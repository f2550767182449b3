package rest

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// docsPage shows the description of the routes to people, without a script and without
// anything from elsewhere.
const docsPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Info.Title}} API</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { border-top: 1px solid; padding-top: 1rem; font-size: 1.1rem; overflow-wrap: anywhere; }
code { font-size: .95em; } table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; }
</style></head><body>
<h1>{{.Info.Title}} API</h1>
<p>{{.Info.Description}} The same for machines: <a href="/openapi.json">/openapi.json</a>.</p>
<nav><ul>{{range .Operations}}<li><a href="#{{.OperationID}}"><code>{{.Method}} {{.Path}}</code></a> {{.Summary}}</li>
{{end}}</ul></nav>
<main>{{range .Operations}}<section id="{{.OperationID}}"><h2><code>{{.Method}} {{.Path}}</code></h2><p>{{.Summary}}.</p>
{{if .Parameters}}<table><tr><th>parameter</th><th>in</th><th>meaning</th></tr>
{{range .Parameters}}<tr><td><code>{{.Name}}</code></td><td>{{.In}}</td><td>{{.Description}}{{with .Schema.Enum}} ({{range $i, $e := .}}{{if $i}}, {{end}}<code>{{$e}}</code>{{end}}){{end}}</td></tr>
{{end}}</table>{{end}}
{{with .RequestBody}}<p>Body: {{range $type, $m := .Content}}<code>{{$type}}</code> {{with name $m.Schema}}<a href="#schema-{{.}}">{{.}}</a> {{end}}{{end}}</p>{{end}}
<ul>{{range $status, $c := .Responses}}<li>{{$status}} {{$c.Description}}{{range $type, $m := $c.Content}}: <code>{{$type}}</code>{{with name $m.Schema}} <a href="#schema-{{.}}">{{.}}</a>{{end}}{{end}}</li>{{end}}</ul></section>
{{end}}
<h1>Documents</h1>
{{range $name, $s := .Components.Schemas}}<section id="schema-{{$name}}"><h2>{{$name}}</h2><table>
{{range $field, $f := $s.Properties}}<tr><td><code>{{$field}}</code></td><td>{{kind $f}}{{with name $f}} <a href="#schema-{{.}}">{{.}}</a>{{end}}</td></tr>
{{end}}</table></section>
{{end}}</main></body></html>
`

// docsOperation is an operation with its place.
type docsOperation struct {
	Method, Path string
	*operation
}

// renderDocs writes the page.
func renderDocs(doc *openAPI) ([]byte, error) {
	page := struct {
		*openAPI
		Operations []docsOperation
	}{openAPI: doc}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range []string{"get", "post", "patch", "delete"} {
			if op := doc.Paths[path][method]; op != nil {
				page.Operations = append(page.Operations, docsOperation{strings.ToUpper(method), path, op})
			}
		}
	}
	t, err := template.New("docs").Funcs(template.FuncMap{"name": schemaName, "kind": schemaKind}).Parse(docsPage)
	if err != nil {
		return nil, fmt.Errorf("parse the page of the API: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, page); err != nil {
		return nil, fmt.Errorf("write the page of the API: %w", err)
	}
	return b.Bytes(), nil
}

// schemaName is the component to which a schema, or that of its items, refers.
func schemaName(s *schema) string {
	if s.Items != nil {
		return schemaName(s.Items)
	}
	return strings.TrimPrefix(s.Ref, "#/components/schemas/")
}

func schemaKind(s *schema) string {
	switch kind := s.Type.(type) {
	case string:
		return kind
	case []string:
		return strings.Join(kind, " or ")
	}
	if s.Ref != "" {
		return "object"
	}
	return "any JSON"
}

// registerDocs serves the description, made once.
func registerDocs(mux *http.ServeMux, doc *openAPI) {
	description, err := marshal(doc)
	if err != nil {
		panic("describe the API: " + err.Error()) // it is made of constants
	}
	page, err := renderDocs(doc)
	if err != nil {
		panic(err.Error()) // likewise
	}
	serve := func(path, contentType string, body []byte) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", contentType)
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Cache-Control", "no-cache")
			_, _ = w.Write(body) // the client may be gone
		})
	}
	serve("/openapi.json", "application/json", description)
	serve("/docs", "text/html; charset=utf-8", page)
}
