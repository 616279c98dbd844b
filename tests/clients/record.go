package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// recorder notes every request and, on demand, breaks off the streams that are open.
type recorder struct {
	mu   sync.Mutex
	sent []*request
}

// request is one request, with what there is to know of its answer.
type request struct {
	method, path string
	query        url.Values
	contentType  string
	accept       string
	status       int
	answerType   string
	body         *body
}

func (r *recorder) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(outgoing *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(outgoing)
		if err != nil {
			return nil, err
		}
		noted := &request{
			method:      outgoing.Method,
			path:        outgoing.URL.Path,
			query:       outgoing.URL.Query(),
			contentType: outgoing.Header.Get("Content-Type"),
			accept:      outgoing.Header.Get("Accept"),
			status:      response.StatusCode,
			answerType:  response.Header.Get("Content-Type"),
			body:        &body{ReadCloser: response.Body},
		}
		response.Body = noted.body
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent = append(r.sent, noted)
		return response, nil
	})
}

// all returns the requests so far for which keep holds.
func (r *recorder) all(keep func(*request) bool) []*request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kept []*request
	for _, noted := range r.sent {
		if keep(noted) {
			kept = append(kept, noted)
		}
	}
	return kept
}

// forget drops what was noted so far.
func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = nil
}

// every keeps all requests.
func every(*request) bool {
	return true
}

// last returns the newest request.
func (r *recorder) last() *request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[len(r.sent)-1]
}

// lists returns the LIST requests for a resource, e.g. "pods".
func (r *recorder) lists(resource string) []*request {
	return r.all(func(q *request) bool { return q.isRead(resource) && !q.isWatch() })
}

// watches returns the WATCH requests for a resource.
func (r *recorder) watches(resource string) []*request {
	return r.all(func(q *request) bool { return q.isRead(resource) && q.isWatch() })
}

// cut breaks off all watches that are open.
func (r *recorder) cut() {
	for _, watch := range r.all((*request).isWatch) {
		watch.body.cut()
	}
}

func (q *request) isRead(resource string) bool {
	return q.method == http.MethodGet && strings.HasSuffix(q.path, "/"+resource)
}

func (q *request) isWatch() bool {
	return slices.Contains([]string{"1", "true"}, q.query.Get("watch"))
}

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip sends a request.
func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	return f(request)
}

// body counts the marks that end the initial events of a watch, whatever the encoding.
type body struct {
	io.ReadCloser
	mu    sync.Mutex
	isCut bool
	marks int
	// tail is the end of what was read so far, in case that it is the beginning of a mark.
	tail []byte
}

// Read reads on.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	mark := []byte(metav1.InitialEventsAnnotationKey)
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := append(b.tail, p[:n]...)
	b.marks += bytes.Count(seen, mark)
	b.tail = bytes.Clone(seen[max(0, len(seen)-len(mark)+1):])
	if err != nil && b.isCut {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// cut ends the stream as a lost connection does.
func (b *body) cut() {
	b.mu.Lock()
	b.isCut = true
	b.mu.Unlock()
	_ = b.Close()
}

// marked returns how often the end of the initial events was announced.
func (b *body) marked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.marks
}
